// What an error says in a log.
#include "openssl/error.h"

#include <array>
#include <string>
#include <string_view>
#include <system_error>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "heddle/result.h"

#include "base/die.h"

namespace heddle {
namespace {

// In the order of Errc.
constexpr std::array<const char*, 10> kNames = {
    "cancelled",     "timed out",        "disconnected",
    "cut off",       "TLS failure",      "the peer's certificate is not trusted",
    "unreachable",   "out of resources", "not usable",
    "internal error"};

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

std::string Error::message() const {
  return openssl::message_about(*this, "");
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
  std::string text(error.operation);
  const auto add = [&text](const std::string& more) { text += ": " + more; };
  // Without an errno `operation` says why: no name server answers, a proxy reaches nobody.
  if (error.code != Errc::kUnreachable || error.sys_errno != 0) {
    add(kNames[static_cast<std::size_t>(error.code)]);
  }
  if (error.code == Errc::kTruncated) add("the peer ended without close_notify");
  if (error.verify_code != 0) {
    add(verdict_text(error, subject));
    return text;
  }
  if (error.sys_errno != 0) add(std::generic_category().message(error.sys_errno));
  if (error.openssl_code != 0 && error.code != Errc::kTruncated) {
    add(describe_entry(error.openssl_code));
  }
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

Error error_from_queue(Errc code, const char* operation) noexcept {
  const unsigned long oldest = ERR_peek_error();
  if (ERR_SYSTEM_ERROR(oldest)) {
    return {.code = code, .sys_errno = ERR_GET_REASON(oldest), .operation = operation};
  }
  return {.code = code, .openssl_code = oldest, .operation = operation};
}

}  // namespace openssl
}  // namespace heddle
