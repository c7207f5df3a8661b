// What a handshake has negotiated.
#include <algorithm>
#include <string>

#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "tls/certificate_data.h"
#include "tls/stream_impl.h"

namespace heddle {

std::size_t Stream::pending() const noexcept {
  return static_cast<std::size_t>(std::max(SSL_pending(native_handle()), 0));
}

std::string_view Stream::version() const {
  if (SSL_is_init_finished(native_handle()) == 0) return {};
  return SSL_get_version(native_handle());
}

std::string_view Stream::cipher() const {
  const SSL_CIPHER* const cipher = SSL_get_current_cipher(native_handle());
  return cipher != nullptr ? SSL_CIPHER_get_name(cipher) : std::string_view();
}

std::string Stream::group() const {
  const ErrorQueueScope scope(Leftovers::kDrop);
  if (SSL_is_init_finished(native_handle()) == 0) return {};
  // A resumed TLS 1.2 session has none.
  const auto id = SSL_get_negotiated_group(native_handle());
  if (id == NID_undef) return {};
  const char* const name = SSL_group_to_name(native_handle(), static_cast<int>(id));
  return name != nullptr ? name : "";
}

std::string_view Stream::alpn() const {
  const unsigned char* selected = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(native_handle(), &selected, &size);
  return {reinterpret_cast<const char*>(selected), size};
}

bool Stream::session_reused() const {
  return SSL_session_reused(native_handle()) != 0;
}

std::optional<Session> Stream::session() const {
  SSL_SESSION* const session = SSL_get_session(native_handle());
  return session != nullptr ? std::optional<Session>(session) : std::nullopt;
}

std::string_view Stream::server_name() const {
  const char* const name = SSL_get_servername(native_handle(), TLSEXT_NAMETYPE_host_name);
  return name != nullptr ? name : std::string_view();
}

std::vector<Certificate> Stream::peer_certificates() const {
  const ErrorQueueScope scope(Leftovers::kDrop);
  std::vector<Certificate> all;
  X509* const leaf = SSL_get0_peer_certificate(native_handle());
  if (leaf != nullptr) all.push_back(tls::describe(leaf));
  const STACK_OF(X509)* const chain = SSL_get_peer_cert_chain(native_handle());
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    X509* const certificate = sk_X509_value(chain, i);
    // A client's list begins with the leaf, a server's does not.
    if (leaf == nullptr || X509_cmp(certificate, leaf) != 0) {
      all.push_back(tls::describe(certificate));
    }
  }
  return all;
}

}  // namespace heddle
