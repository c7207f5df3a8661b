// What an error says in a log.
#include "openssl/error.h"

#include <array>
#include <string>
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

}  // namespace

std::string Error::message() const {
  std::string text = std::string(operation) + ": " + kNames[static_cast<std::size_t>(code)];
  if (code == Errc::kTruncated) text += ": the peer ended without close_notify";
  if (verify_code != 0) {
    return text + ": " + X509_verify_cert_error_string(verify_code) + " (" +
           std::to_string(verify_code) + ")";
  }
  if (sys_errno != 0) text += ": " + std::generic_category().message(sys_errno);
  if (openssl_code != 0 && code != Errc::kTruncated)
    text += ": " + openssl::describe_entry(openssl_code);
  return text;
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
