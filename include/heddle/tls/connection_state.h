// ConnectionState: what a handshake has negotiated, as one value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "heddle/tls/ktls.h"

namespace heddle {

// ConnectionState is what Stream::connection_state() and SslObject::connection_state() return:
// empty until the handshake is done, and for good if that has failed. A later failure of the
// connection does not change it. It is a copy and may outlive the connection.
//
// The peer's certificates are not in it: peer_certificates() parses them, and also has those that
// did not verify.
struct ConnectionState {
  bool complete = false;       // The handshake is done.
  std::string_view version{};  // "TLSv1.3"
  std::string_view cipher{};   // "TLS_AES_256_GCM_SHA384"
  std::string group{};         // "X25519". Empty without a key exchange: a session of TLS 1.2.
  // What the peer signed the handshake with: "ECDSA+SHA256", "RSA-PSS+SHA256", "ED25519". Empty if
  // it did not: a resumed session, a PSK, a client without a certificate.
  std::string signature_algorithm{};
  std::string alpn{};  // "h2". Empty if no protocol was agreed on.
  std::string
      server_name{};     // Servers: the SNI that the client sent. Clients: what they asked for.
  bool resumed = false;  // Of a session, or of a PSK of the program's.
  // Whether the kernel encrypts what is sent, and decrypts what is received; if not, why.
  KernelTlsState ktls_send = KernelTlsState::kHandshake;
  KernelTlsState ktls_recv = KernelTlsState::kHandshake;
};

// VerifyFailure is the certificate for which a peer was not trusted.
struct VerifyFailure {
  int code = 0;           // X509_V_ERR_..., as Error::verify_code.
  int depth = -1;         // As Error::verify_depth.
  std::string subject{};  // RFC 2253, printable, at most 160 bytes. Empty if none is to blame.
};

// A channel binding ties something above TLS, such as a login, to one TLS connection, so that
// nobody can sit in the middle of it (RFC 5056).
enum class ChannelBinding : std::uint8_t {
  // RFC 5929, section 3: the first Finished message, 12 bytes. TLS 1.2 only. Unless both sides
  // implement RFC 7627, an attacker can make two connections have the same one.
  kTlsUnique,
  // RFC 5929, section 4: the digest of the server's certificate. Not for Ed25519 and the like,
  // whose signatures have no digest of their own.
  kTlsServerEndPoint,
  // RFC 9266: 32 exported bytes. In TLS 1.2 both sides must implement RFC 7627.
  kTlsExporter,
};

}  // namespace heddle
