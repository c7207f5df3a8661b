// What a handshake has negotiated.
#include "tls/connection/connection_info.h"

#include <algorithm>
#include <string>

#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "tls/machine/engine.h"
#include "tls/x509/certificate_data.h"

namespace heddle::tls {

std::size_t pending(const SSL* ssl) noexcept {
  return static_cast<std::size_t>(std::max(SSL_pending(ssl), 0));
}

std::string_view version(const SSL* ssl) {
  if (SSL_is_init_finished(ssl) == 0) return {};
  return SSL_get_version(ssl);
}

std::string_view cipher(const SSL* ssl) {
  const SSL_CIPHER* const cipher = SSL_get_current_cipher(ssl);
  return cipher != nullptr ? SSL_CIPHER_get_name(cipher) : std::string_view();
}

std::string group(SSL* ssl) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  if (SSL_is_init_finished(ssl) == 0) return {};
  // A resumed TLS 1.2 session has none.
  const auto id = SSL_get_negotiated_group(ssl);
  if (id == NID_undef) return {};
  const char* const name = SSL_group_to_name(ssl, static_cast<int>(id));
  return name != nullptr ? name : "";
}

std::string_view alpn(const SSL* ssl) {
  const unsigned char* selected = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &selected, &size);
  return {reinterpret_cast<const char*>(selected), size};
}

bool session_reused(const SSL* ssl) {
  return SSL_session_reused(ssl) != 0;
}

std::string_view server_name(const SSL* ssl) {
  const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : std::string_view();
}

std::vector<Certificate> peer_certificates(const SSL* ssl) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<Certificate> all;
  X509* const leaf = SSL_get0_peer_certificate(ssl);
  if (leaf != nullptr) all.push_back(describe(leaf));
  const STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  // A server of OpenSSL forgets those that did not verify.
  const Engine* const engine = Engine::of(ssl);
  if (leaf == nullptr && chain == nullptr && engine != nullptr && engine->evidence_or_null()) {
    chain = engine->evidence_or_null()->sent.get();
  }
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    X509* const certificate = sk_X509_value(chain, i);
    // A client's list begins with the leaf, a server's does not.
    if (leaf == nullptr || X509_cmp(certificate, leaf) != 0) {
      all.push_back(describe(certificate));
    }
  }
  return all;
}

}  // namespace heddle::tls
