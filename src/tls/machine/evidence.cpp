// Collecting evidence while OpenSSL works, and putting it into words.
#include "tls/machine/evidence.h"

#include <algorithm>
#include <new>
#include <span>
#include <string_view>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>

#include "heddle/error_queue.h"

#include "base/printable.h"
#include "openssl/error.h"
#include "tls/machine/engine.h"
#include "tls/x509/certificate_data.h"

namespace heddle::tls {
namespace {

void note_failure(Engine& engine, const X509_STORE_CTX* store, int code, int depth,
                  const X509* certificate) noexcept {
  // A client that verifies nobody goes on, and has nothing to explain.
  if ((SSL_get_verify_mode(engine.ssl()) & SSL_VERIFY_PEER) == 0) return;
  // A name that cannot be printed leaves entries, and OpenSSL is in the middle of a verdict.
  const ErrorQueueScope scope(Leftovers::kDrop);
  try {
    Evidence& evidence = engine.evidence();
    evidence.verify_code = code;
    evidence.depth = depth;
    evidence.subject = certificate != nullptr ? subject_of(certificate, kShownBytesMax) : "";
    evidence.sent.reset(X509_chain_up_ref(X509_STORE_CTX_get0_untrusted(store)));
  } catch (const std::bad_alloc&) {
    return;  // The failure itself needs no memory.
  }
}

// Called by OpenSSL for each certificate that it has looked at, and for each objection.
int watch(int accepted, X509_STORE_CTX* store) {
  Engine* const engine = Engine::of(ssl_of(store));
  SSL_verify_cb decide = engine != nullptr ? engine->verify_callback() : nullptr;
  X509_STORE* const trusted = X509_STORE_CTX_get0_store(store);
  if (decide == nullptr && trusted != nullptr) decide = X509_STORE_get_verify_cb(trusted);
  const int verdict = decide != nullptr ? decide(accepted, store) : accepted;
  if (verdict == 0 && engine != nullptr) {
    note_failure(*engine, store, X509_STORE_CTX_get_error(store),
                 X509_STORE_CTX_get_error_depth(store), X509_STORE_CTX_get_current_cert(store));
  }
  return verdict;
}

// Called by OpenSSL some twenty times in a handshake, and not for data.
void watch_events(const SSL* ssl, int where, int value) {
  Engine* const engine = Engine::of(ssl);
  if (where == SSL_CB_WRITE_ALERT && engine != nullptr && value >> 8 == SSL3_AL_FATAL) {
    engine->note_alert(static_cast<std::uint8_t>(value & 0xff));
  }
  auto next = engine != nullptr ? engine->info_callback() : nullptr;
  if (next == nullptr) next = SSL_CTX_get_info_callback(SSL_get_SSL_CTX(ssl));
  if (next != nullptr) next(ssl, where, value);
}

// Whether a peer that speaks TLS may begin so: with a record of one of the types that there are
// (RFC 8446, section 5.1), or with a hello as of SSL 2.0 (RFC 5246, appendix E.2).
bool begins_a_record(std::span<const std::byte> bytes) {
  const auto number = [&](std::size_t at) { return std::to_integer<unsigned>(bytes[at]); };
  constexpr unsigned kHighBit = 0x80;
  if ((number(0) & kHighBit) != 0) return true;
  const bool is_type = number(0) >= 20 && number(0) <= 24;
  return is_type && (bytes.size() == 1 || number(1) == SSL3_VERSION_MAJOR);
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string version_text(int version) {
  switch (version) {
    case TLS1_2_VERSION:
      return "TLS 1.2";
    case TLS1_3_VERSION:
      return "TLS 1.3";
    default:
      return "allowed here";
  }
}

// Whether the first record, an alert, says that the server has chosen TLS 1.1: then it found no
// cipher in the hello that older TLS has. Those of TLS 1.0 look like alerts of servers that had not
// chosen a version yet (RFC 5246, appendix E.1).
bool is_of_tls11(std::span<const std::byte> header) {
  return header.size() >= 3 && header[1] == std::byte{SSL3_VERSION_MAJOR} &&
         header[2] == std::byte{TLS1_1_VERSION_MINOR};
}

// What the reasons of OpenSSL mean for a peer in this role. A server that knows no version of what
// a client offers may answer with an older one or with an alert (RFC 8446, appendix D.2).
std::string about_versions(const Engine& engine, unsigned long openssl_code) {
  SSL* const ssl = engine.ssl();
  const int reason = ERR_GET_LIB(openssl_code) == ERR_LIB_SSL ? ERR_GET_REASON(openssl_code) : 0;
  const bool is_about_versions =
      reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION;
  if (SSL_is_server(ssl) != 0) {
    if (!is_about_versions) return {};
    return reason == SSL_R_UNSUPPORTED_PROTOCOL
               ? "the client offers no version of TLS that is allowed here"
               : "the client allows none of the versions of TLS that are allowed here";
  }
  const bool lacks_ciphers =
      reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE && is_of_tls11(engine.first_header());
  if (!is_about_versions && !lacks_ciphers) return {};
  const auto newest = SSL_get_max_proto_version(ssl);  // 0: there is no limit.
  const bool may_be_newer = newest != 0 && newest < TLS1_3_VERSION;
  if (reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION && may_be_newer) {
    return "the server allows none of the versions of TLS that were offered";
  }
  return "the server offers only older TLS than " +
         version_text(static_cast<int>(SSL_get_min_proto_version(ssl)));
}

}  // namespace

SSL* ssl_of(const X509_STORE_CTX* store) noexcept {
  return static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
}

void watch_verification(Engine& engine) {
  SSL* const ssl = engine.ssl();
  engine.set_verify_callback(SSL_get_verify_callback(ssl));
  SSL_set_verify(ssl, SSL_get_verify_mode(ssl), watch);
}

void watch_alerts(Engine& engine) {
  SSL* const ssl = engine.ssl();
  engine.set_info_callback(SSL_get_info_callback(ssl));
  SSL_set_info_callback(ssl, watch_events);
}

void note_verdict(const SSL* ssl, const X509_STORE_CTX* store, int code) noexcept {
  Engine* const engine = Engine::of(ssl);
  if (engine == nullptr || engine->verify_code_noted() == code) return;
  if (code == X509_V_OK) {
    engine->drop_evidence();
  } else {
    note_failure(*engine, store, code, -1, nullptr);
  }
}

void note_peer_text(Engine& engine) noexcept {
  const std::span<const std::byte> header = engine.first_header();
  if (header.empty() || begins_a_record(header)) return;
  try {
    std::string all(text_of(header));
    std::span<const std::byte> unread;
    if (BIO_ctrl(SSL_get_rbio(engine.ssl()), kControlGetUnread, 0, &unread) == 1) {
      all += text_of(unread.first(std::min(unread.size(), kShownBytesMax)));
    }
    const std::string_view line = std::string_view(all).substr(0, all.find_first_of("\r\n"));
    engine.evidence().peer_text = printable(line, kShownBytesMax);
  } catch (const std::bad_alloc&) {
    return;  // The failure itself needs no memory.
  }
}

std::string explain(const Engine& engine, const Error& error) {
  const Evidence* const evidence = engine.evidence_or_null();
  if (error.code == Errc::kUntrusted) {
    const bool is_noted = evidence != nullptr && evidence->verify_code == error.verify_code &&
                          error.verify_depth >= 0;
    return is_noted ? openssl::message_about(error, evidence->subject) : error.message();
  }
  std::string text = error.message();
  if (engine.established() || error.code == Errc::kInvalid) return text;
  if (evidence != nullptr && !evidence->peer_text.empty()) {
    return text + ": the peer does not speak TLS, it sent \"" + evidence->peer_text + '"';
  }
  if (const std::string why = about_versions(engine, error.openssl_code); !why.empty()) {
    text += ": " + why;
  }
  return text;
}

}  // namespace heddle::tls
