// What both ends of one connection can compute, and nobody else.
#include <algorithm>
#include <array>
#include <cstddef>
#include <string>

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "heddle/error_queue.h"

#include "openssl/error.h"
#include "tls/connection/connection_info.h"

namespace heddle::tls {
namespace {

constexpr const char* kExport = "SSL_export_keying_material";
constexpr const char* kUnique = "channel binding tls-unique";
constexpr const char* kEndPoint = "channel binding tls-server-end-point";
constexpr const char* kTooEarly = "the handshake is not done";

Error no_binding(const char* kind, const char* why) {
  return {.code = Errc::kInvalid, .operation = kind, .detail = why};
}

Result<void> expect_done(const Machine& machine, const char* operation) {
  if (machine.handshake_done()) return {};
  return Error{.code = Errc::kInvalid, .operation = operation, .detail = kTooEarly};
}

// Whether the keys depend on the whole handshake (RFC 7627).
bool binds_handshake(SSL* ssl) {
  return SSL_version(ssl) >= TLS1_3_VERSION || SSL_get_extms_support(ssl) == 1;
}

// The first Finished: the client's, or the server's where a session is resumed.
Result<std::string> tls_unique(SSL* ssl) {
  if (SSL_version(ssl) >= TLS1_3_VERSION) {
    return no_binding(kUnique, "TLS 1.3 has none (RFC 8446, C.5)");
  }
  std::array<char, EVP_MAX_MD_SIZE> finished{};
  const bool server_first = SSL_session_reused(ssl) != 0;
  const bool ours = (SSL_is_server(ssl) != 0) == server_first;
  const std::size_t size = ours ? SSL_get_finished(ssl, finished.data(), finished.size())
                                : SSL_get_peer_finished(ssl, finished.data(), finished.size());
  return std::string(finished.data(), std::min(size, finished.size()));
}

Result<std::string> tls_server_end_point(SSL* ssl) {
  // OpenSSL's server has chosen none then, and does not know the one of the session's handshake.
  if (SSL_session_reused(ssl) != 0) {
    return no_binding(kEndPoint, "the server shows no certificate when it resumes a session");
  }
  X509* const certificate =
      SSL_is_server(ssl) != 0 ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr) {
    return no_binding(kEndPoint, "the server showed no certificate");
  }
  int digest_nid = NID_undef;
  if (X509_get_signature_info(certificate, &digest_nid, nullptr, nullptr, nullptr) != 1 ||
      digest_nid == NID_undef) {
    return no_binding(kEndPoint, "the certificate's signature has no digest of its own");
  }
  // RFC 5929, section 4.1.
  if (digest_nid == NID_md5 || digest_nid == NID_sha1) digest_nid = NID_sha256;
  const EVP_MD* const digest = EVP_get_digestbynid(digest_nid);
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  if (digest == nullptr || X509_digest(certificate, digest, bytes.data(), &size) != 1) {
    return openssl::error_from_queue(Errc::kInvalid, kEndPoint);
  }
  return std::string(reinterpret_cast<const char*>(bytes.data()), size);
}

Result<std::string> tls_exporter(const Machine& machine) {
  if (!binds_handshake(machine.ssl())) {
    return no_binding("channel binding tls-exporter", "the peer does not know RFC 7627");
  }
  constexpr std::size_t kBytes = 32;  // RFC 9266, section 2.
  return export_keying_material(machine, "EXPORTER-Channel-Binding", kBytes, "");
}

}  // namespace

Result<std::string> export_keying_material(const Machine& machine, std::string_view label,
                                           std::size_t bytes,
                                           std::optional<std::string_view> context) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto done = expect_done(machine, kExport);
  if (!done) return done.error();
  constexpr std::size_t kBytesMax = std::size_t{255} * EVP_MAX_MD_SIZE;
  if (bytes == 0 || bytes > kBytesMax) {
    return Error{.code = Errc::kInvalid, .operation = kExport, .detail = "none, or too many bytes"};
  }
  std::string material(bytes, '\0');
  const std::string_view given = context.value_or(std::string_view());
  const int exported = SSL_export_keying_material(
      machine.ssl(), reinterpret_cast<unsigned char*>(material.data()), material.size(),
      label.data(), label.size(), reinterpret_cast<const unsigned char*>(given.data()),
      given.size(), context ? 1 : 0);
  if (exported != 1) return openssl::error_from_queue(Errc::kInvalid, kExport);
  return material;
}

Result<std::string> channel_binding(const Machine& machine, ChannelBinding kind) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto done = expect_done(machine, "channel binding");
  if (!done) return done.error();
  switch (kind) {
    case ChannelBinding::kTlsUnique:
      return tls_unique(machine.ssl());
    case ChannelBinding::kTlsServerEndPoint:
      return tls_server_end_point(machine.ssl());
    case ChannelBinding::kTlsExporter:
      return tls_exporter(machine);
  }
  return no_binding("channel binding", "of an unknown kind");
}

}  // namespace heddle::tls
