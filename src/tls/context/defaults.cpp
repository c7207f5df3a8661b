// The settings that a Context begins with.
#include "tls/context/defaults.h"

#include <algorithm>
#include <array>

#include <openssl/ssl.h>

#include "tls/x509/verify_as_default.h"

namespace heddle::tls {
namespace {

// CPython's (PY_SSL_DEFAULT_CIPHERS in Modules/_ssl.c), where the security level stands in the
// list: AEAD or SHA-2, and forward secrecy.
constexpr const char* kCiphers =
    "ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM";

// Those that browsers offer. A server computes with a group that the client chooses, before it
// knows anything of the client: a replayed hello with ffdhe8192 costs it 120 ms (D(HE)at,
// CVE-2002-20001), with X25519 0.1 ms. OpenSSL has the first from 3.5 on, together with the syntax:
// a client sends key shares for those with an asterisk, and a server prefers what stands before a
// slash even if that takes a HelloRetryRequest.
constexpr std::array kGroups = {"*X25519MLKEM768 / *X25519:P-256 / P-384", "X25519:P-256:P-384",
                                "P-256:P-384"};

}  // namespace

bool set_default_groups(SSL_CTX* ctx) {
  // OpenSSL of another version, or with another provider, may lack some.
  return std::any_of(kGroups.begin(), kGroups.end(), [&](const char* groups) {
    return SSL_CTX_set1_groups_list(ctx, groups) == 1;
  });
}

void set_defaults(SSL_CTX* ctx, Role role) {
  (void)set_default_groups(ctx);
  SSL_CTX_set_cipher_list(ctx, kCiphers);
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_security_level(ctx, kSecurityLevel);
  SSL_CTX_set_options(
      ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // An idle connection gives its record buffers back. A write that is repeated may
  // come from another address: small pieces are gathered anew.
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), kVerifyFlags);
  if (role == Role::kClient) SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, nullptr);
}

}  // namespace heddle::tls
