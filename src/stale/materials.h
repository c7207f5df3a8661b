// What the scenarios are played with: certificates, keys, and plain OpenSSL contexts.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "heddle/tls/certificate.h"

#include "base/unique_fd.h"
#include "openssl/handles.h"

namespace heddle::stale {

// The scene itself went wrong, not the victim. Thrown in fibers, never through OpenSSL.
class Broken : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The scene cannot be played with this stack.
class Skip : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void require(bool condition, const char* what) {
  if (!condition) throw Broken(what);
}

inline constexpr const char* kServerName = "stale.heddle.test";

struct Materials {
  Identity server;
  // The server's certificate and another one. A server that presents a single certificate lets
  // OpenSSL look for the rest of its chain, which clears the queue and hides the bug.
  std::string chain_pem;
  Identity malformed;  // Its AIA extension is not valid DER.
  Identity rsa;

  std::string encrypted_key_pem;  // The password is not "wrong".
  std::vector<unsigned char> pkcs12;
  std::vector<unsigned char> ciphertext;  // RSA-OAEP, for `rsa`.

  openssl::SslCtxPtr server_ctx;
  openssl::SslCtxPtr malformed_server_ctx;
  openssl::SslCtxPtr client_ctx;      // Trusts both.
  openssl::SslCtxPtr suspicious_ctx;  // A client that trusts nobody.
};

// Makes them when first asked, which takes a fraction of a second. Throws Broken.
const Materials& materials();

// Two ends of a stream in this machine's memory, non-blocking.
std::pair<UniqueFd, UniqueFd> make_socket_pair();

// The same by TCP: only there is a reset a reset.
std::pair<UniqueFd, UniqueFd> make_tcp_pair();

}  // namespace heddle::stale
