// Reading certificates and keys, from files and from memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
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

// Reads a regular file of at most a mebibyte. `operation` goes into the error, whose context is the
// path.
Result<SecretText> read_file(const std::filesystem::path& path, const char* operation);

// Whether `text` is PEM rather than DER.
bool is_pem(std::string_view text) noexcept;

// Parses every certificate in `pem`, in order; at least one.
Result<std::vector<openssl::X509Ptr>> parse_chain(std::string_view pem, const char* operation);
// The same, or one certificate in DER.
Result<std::vector<openssl::X509Ptr>> parse_chain_or_der(std::string_view text,
                                                         const char* operation);

// Parses every certificate revocation list in PEM, at least one, or one in DER.
using CrlPtr = openssl::Handle<X509_CRL, X509_CRL_free>;
Result<std::vector<CrlPtr>> parse_crls(std::string_view text, const char* operation);

// Parses the parameters in `pem`, such as those of a Diffie-Hellman group.
Result<openssl::KeyPtr> parse_parameters(std::string_view pem, const char* operation);

// Asked for the password of an encrypted key, if it is one; null: there is none. An Error is what
// the caller fails with.
using AskPassword = std::function<Result<std::string>()>;

// Parses the private key in `text`, PEM or DER. Never asks at the terminal for a password. Throws
// what `ask` throws.
Result<openssl::KeyPtr> parse_key(std::string_view text, const AskPassword& ask,
                                  const char* operation);

// Parses one DER certificate.
Result<openssl::X509Ptr> parse_der(std::span<const std::byte> der, const char* operation);

}  // namespace heddle::tls
