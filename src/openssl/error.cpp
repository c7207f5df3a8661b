// What an error says in a log.
#include "openssl/error.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "heddle/result.h"

#include "base/die.h"
#include "base/printable.h"

namespace heddle {
namespace {

constexpr std::size_t kTextBytesMax = 256;      // Of one text that with() adds.
constexpr std::size_t kContextBytesMax = 1024;  // Of all.
constexpr std::string_view kBetween = ": ";
constexpr std::string_view kCut = "...";  // The least that printable() makes of a text.

// In the order of Errc.
constexpr std::array<const char*, 10> kNames = {
    "cancelled",     "timed out",        "disconnected",
    "cut off",       "TLS failure",      "the peer's certificate is not trusted",
    "unreachable",   "out of resources", "not usable",
    "internal error"};

using AlertName = std::pair<std::uint8_t, const char*>;
constexpr std::array kAlerts = {
    AlertName{0, "close_notify"},
    AlertName{10, "unexpected_message"},
    AlertName{20, "bad_record_mac"},
    AlertName{21, "decryption_failed"},
    AlertName{22, "record_overflow"},
    AlertName{30, "decompression_failure"},
    AlertName{40, "handshake_failure"},
    AlertName{41, "no_certificate"},
    AlertName{42, "bad_certificate"},
    AlertName{43, "unsupported_certificate"},
    AlertName{44, "certificate_revoked"},
    AlertName{45, "certificate_expired"},
    AlertName{46, "certificate_unknown"},
    AlertName{47, "illegal_parameter"},
    AlertName{48, "unknown_ca"},
    AlertName{49, "access_denied"},
    AlertName{50, "decode_error"},
    AlertName{51, "decrypt_error"},
    AlertName{52, "too_many_cids_requested"},
    AlertName{60, "export_restriction"},
    AlertName{70, "protocol_version"},
    AlertName{71, "insufficient_security"},
    AlertName{80, "internal_error"},
    AlertName{86, "inappropriate_fallback"},
    AlertName{90, "user_canceled"},
    AlertName{100, "no_renegotiation"},
    AlertName{109, "missing_extension"},
    AlertName{110, "unsupported_extension"},
    AlertName{111, "certificate_unobtainable"},
    AlertName{112, "unrecognized_name"},
    AlertName{113, "bad_certificate_status_response"},
    AlertName{114, "bad_certificate_hash_value"},
    AlertName{115, "unknown_psk_identity"},
    AlertName{116, "certificate_required"},
    AlertName{117, "general_error"},
    AlertName{120, "no_application_protocol"},
    AlertName{121, "ech_required"},
};

// Such as "certificate 1, CN=Inter, has expired (10)", for OpenSSL's "certificate has expired".
std::string verdict_text(const Error& error, std::string_view subject) {
  std::string_view reason = X509_verify_cert_error_string(error.verify_code);
  const std::string number = " (" + std::to_string(error.verify_code) + ")";
  if (error.verify_depth < 0) return std::string(reason) + number;
  std::string text = "certificate " + std::to_string(error.verify_depth);
  if (!subject.empty()) text.append(", ").append(subject);
  constexpr std::string_view kCertificate = "certificate ";
  const bool is_sentence =
      reason.starts_with("certificate has ") || reason.starts_with("certificate is ");
  if (is_sentence) {
    reason.remove_prefix(kCertificate.size());
    text += subject.empty() ? " " : ", ";
  } else {
    text += ": ";
  }
  return text.append(reason) + number;
}

}  // namespace

// In one allocation with its text, which follows it.
struct ErrorContext::Shared {
  mutable std::atomic<unsigned> users = 1;
  std::uint32_t bytes = 0;

  char* text() noexcept { return reinterpret_cast<char*>(this + 1); }
};

ErrorContext::Shared* ErrorContext::share(std::string_view text) noexcept {
  void* const memory = ::operator new(sizeof(Shared) + text.size(), std::nothrow);
  if (memory == nullptr) return nullptr;
  auto* const made = new (memory) Shared{.bytes = static_cast<std::uint32_t>(text.size())};
  std::copy(text.begin(), text.end(), made->text());
  return made;
}

void ErrorContext::keep() const noexcept {
  shared_->users.fetch_add(1, std::memory_order_relaxed);
}

void ErrorContext::drop() const noexcept {
  if (shared_->users.fetch_sub(1, std::memory_order_acq_rel) == 1) ::operator delete(shared_);
}

std::string_view ErrorContext::text() const noexcept {
  if (shared_ == nullptr) return {};
  return {shared_->text(), shared_->bytes};
}

Error Error::with(std::string_view text) const noexcept {
  Error error = *this;
  const std::string_view inner = context();
  const std::size_t taken = inner.empty() ? 0 : inner.size() + kBetween.size();
  if (text.empty() || taken + kCut.size() > kContextBytesMax) return error;
  try {
    std::string all = printable(text, std::min(kTextBytesMax, kContextBytesMax - taken));
    if (!inner.empty()) all.append(kBetween).append(inner);
    ErrorContext longer;
    longer.shared_ = ErrorContext::share(all);
    if (longer.shared_ != nullptr) error.contexts = std::move(longer);
  } catch (const std::bad_alloc&) {
    return error;  // What it says without is worth more than nothing.
  }
  return error;
}

std::string Error::message() const {
  return openssl::message_about(*this, "");
}

// https://www.iana.org/assignments/tls-parameters, "TLS Alerts".
const char* alert_name(std::uint8_t number) noexcept {
  const auto* const found = std::find_if(kAlerts.begin(), kAlerts.end(),
                                         [=](const auto& each) { return each.first == number; });
  return found != kAlerts.end() ? found->second : "unknown";
}

namespace detail {

void result_has_no_value(const Error& error) noexcept {
  die("the value of a Result was taken that holds an error (ask has_value() first): %s",
      error.message().c_str());
}

void result_has_no_error() noexcept {
  die("the error of a Result was taken that holds a value (ask has_value() first)");
}

}  // namespace detail

namespace openssl {

std::string message_about(const Error& error, std::string_view subject) {
  std::string text(error.context());
  const auto add = [&text](std::string_view more) {
    if (more.empty()) return;
    if (!text.empty()) text.append(kBetween);
    text.append(more);
  };
  add(error.operation);
  add(kNames[static_cast<std::size_t>(error.code)]);
  if (error.verify_code != 0) {
    add(verdict_text(error, subject));
  } else {
    if (error.sys_errno != 0) add(std::generic_category().message(error.sys_errno));
    if (error.openssl_code != 0 && error.code != Errc::kTruncated) {
      add(describe_entry(error.openssl_code));
    }
  }
  add(error.detail);
  return text;
}
std::string describe_entry(unsigned long code) {
  const char* const library = ERR_lib_error_string(code);
  const char* const reason = ERR_reason_error_string(code);
  if (reason == nullptr) {
    std::array<char, 128> text{};
    ERR_error_string_n(code, text.data(), text.size());
    return text.data();
  }
  return library != nullptr ? std::string(library) + ": " + reason : reason;
}

Error error_from_queue(Errc code, const char* operation, const char* detail) noexcept {
  const unsigned long oldest = ERR_peek_error();
  Error error{.code = code, .operation = operation, .detail = detail};
  if (ERR_SYSTEM_ERROR(oldest)) {
    error.sys_errno = ERR_GET_REASON(oldest);
  } else {
    error.openssl_code = static_cast<std::uint32_t>(oldest);
  }
  return error;
}

}  // namespace openssl
}  // namespace heddle
