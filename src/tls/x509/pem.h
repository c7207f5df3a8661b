// Reading certificates and keys, from files and from memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/result.h"

#include "openssl/handles.h"

namespace heddle::tls {

// SecretText is a file's content, wiped when it goes.
class SecretText {
 public:
  SecretText() = default;
  SecretText(const SecretText&) = delete;
  SecretText& operator=(const SecretText&) = delete;
  SecretText(SecretText&&) noexcept = default;
  SecretText& operator=(SecretText&&) noexcept = default;
  ~SecretText();

  std::string& text() noexcept { return text_; }

 private:
  std::string text_;
};

// Reads a regular file of at most a mebibyte. `operation` goes into the error.
Result<SecretText> read_file(const std::filesystem::path& path, const char* operation);

// Parses every certificate in `pem`, in order; at least one.
Result<std::vector<openssl::X509Ptr>> parse_chain(std::string_view pem, const char* operation);

// Parses the private key in `pem`. Never asks at the terminal for a password.
Result<openssl::KeyPtr> parse_key(std::string_view pem, std::string_view password,
                                  const char* operation);

// Parses one DER certificate.
Result<openssl::X509Ptr> parse_der(std::span<const std::byte> der, const char* operation);

}  // namespace heddle::tls
