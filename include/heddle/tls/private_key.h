// Private keys that are elsewhere: on a thread pool, in a security module, at a remote signer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/offload.h"
#include "heddle/result.h"

namespace heddle {

// How to sign: the SignatureScheme of RFC 8446, section 4.2.3, and, numbered in the same way, those
// that only TLS 1.2 has (RFC 5246, section 7.4.1.4.1). In TLS 1.2 the curve is the key's, whatever
// the name says: only the hash counts.
enum class SignatureScheme : std::uint16_t {
  // RSASSA-PKCS1-v1_5: TLS 1.2. The first two hashes are for peers that support no better ones;
  // OpenSSL's security level 2, the default here, refuses SHA-1.
  kRsaPkcs1Sha1 = 0x0201,
  kRsaPkcs1Sha224 = 0x0301,
  kRsaPkcs1Sha256 = 0x0401,
  kRsaPkcs1Sha384 = 0x0501,
  kRsaPkcs1Sha512 = 0x0601,
  // RSASSA-PSS with a salt as long as the hash, and MGF1 with the same hash.
  kRsaPssRsaeSha256 = 0x0804,
  kRsaPssRsaeSha384 = 0x0805,
  kRsaPssRsaeSha512 = 0x0806,
  // A DER-encoded ECDSA-Sig-Value.
  kEcdsaSha1 = 0x0203,
  kEcdsaSha224 = 0x0303,
  kEcdsaSecp256r1Sha256 = 0x0403,
  kEcdsaSecp384r1Sha384 = 0x0503,
  kEcdsaSecp521r1Sha512 = 0x0603,
  kEd25519 = 0x0807,
  kEd448 = 0x0808,
};

// Signer makes the signatures of one private key. Context::use_cert_chain() takes one in place of
// the key: the connections of the context, servers' or clients', then ask it in every full
// handshake.
//
// Fibers:   sign() is called on the fiber that does the handshake, inside OpenSSL, and may park:
//   other fibers go on, and many of them may be inside sign() at once. It must not use the
//   connection that is waiting for the signature. Without a fiber (an SslObject or SSL that the
//   thread drives itself) it cannot park.
// Threads:  streams of any thread may share a Context: sign() is called on all of them.
// Lifetime: connections keep it alive, as long as they may still sign.
// Errors:   an Error that sign() returns, or what it throws, comes out of the call of Stream that
//   needed the signature, as it is; the peer gets an internal_error alert. What it leaves in
//   the thread's OpenSSL error queue is dropped.
class HEDDLE_API Signer {
 public:
  virtual ~Signer() = default;

  // Signs `message` as `scheme` says, and hashes it for that: `message` is the whole content to be
  // signed (RFC 8446, section 4.4.3: about 150 bytes. In TLS 1.2 a client signs all earlier
  // messages of the handshake, kilobytes). It is valid until the call returns. `deadline` is that
  // of the handshake.
  virtual Result<std::vector<std::byte>> sign(SignatureScheme scheme,
                                              std::span<const std::byte> message,
                                              Deadline deadline) = 0;
};

// Makes a Signer that signs with the private key in `key_pem` (RSA, ECDSA, Ed25519, Ed448), on the
// calling thread, without parking. For the far side of a remote signer, and for
// make_offload_signer(). Its sign() fails with kInvalid for a scheme that does not fit the key.
// Many threads may use it at once. Fails as Context::use_cert_chain() does.
HEDDLE_API Result<std::shared_ptr<Signer>> make_key_signer(std::string_view key_pem,
                                                           std::string_view password = {});

// Makes a Signer that lets `signer` sign on the threads of `pool` while the calling fiber is
// parked: for signatures that take long (RSA-4096) or block (a PKCS #11 module). So `signer` must
// allow calls from several threads at once, and must not park. An interrupted handshake does not
// wait for a signature that is being made. sign() also fails with kExhausted when the pool's queue
// is full. Without a fiber to park, it signs on the calling thread.
HEDDLE_API std::shared_ptr<Signer> make_offload_signer(std::shared_ptr<OffloadPool> pool,
                                                       std::shared_ptr<Signer> signer);

}  // namespace heddle
