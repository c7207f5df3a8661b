// Certificates as data, and certificates made at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "heddle/export.h"
#include "heddle/result.h"

namespace heddle {

class Signer;

namespace tls {
class Access;
struct CredentialsData;
}  // namespace tls

// Certificate describes one X.509 certificate. Text is UTF-8 as OpenSSL prints it, and safe to log:
// control characters, those that change the direction of text, and bytes that are no UTF-8 are
// shown as \XX in hexadecimal.
struct Certificate {
  std::string subject;     // RFC 2253 form.
  std::string issuer;      // The same.
  std::string serial;      // Hexadecimal.
  std::string not_before;  // Such as "2026-01-31 12:00:00Z"; empty if malformed.
  std::string not_after;
  std::vector<std::string> subject_alt_names;  // "DNS:...", "IP:..."; other kinds are left out.
  std::string key;                             // Such as "EC 256 bits".
  std::string sha256;                          // Fingerprint: upper case, colons.
  std::string der;                             // The certificate itself.
};

// A certificate with its private key, both PEM.
struct Identity {
  std::string certificate_pem;
  std::string key_pem;
  std::string sha256;  // The certificate's fingerprint.
};

enum class KeyType : std::uint8_t { kEcdsaP256, kRsa2048, kEd25519, kEcdsaP384, kRsa4096 };

// Makes a new key and a self-signed certificate for `names` (DNS names and IP
// addresses), valid from an hour ago for `days`. A client that trusts this
// certificate accepts the server that presents it. Takes up to a second for
// RSA, and several for its 4096 bits. Precondition: `names` is not empty. Fails with kInvalid (a
// name that no certificate can hold) or kExhausted.
HEDDLE_API Result<Identity> make_self_signed(const std::vector<std::string>& names,
                                             KeyType type = KeyType::kEcdsaP256, int days = 365);

// Credentials are a certificate chain and its private key, parsed, ready to be presented. Copies
// are cheap. Threads: any may use a copy.
class HEDDLE_API Credentials {
 public:
  // As Context::use_cert_chain().
  static Result<Credentials> parse(std::string_view chain_pem, std::string_view key_pem,
                                   std::string_view password = {});

  // For a key that is elsewhere (heddle/tls/private_key.h), as Context::use_cert_chain().
  // Precondition: `signer` is not null.
  static Result<Credentials> with_signer(std::string_view chain_pem,
                                         std::shared_ptr<Signer> signer);

 private:
  friend class tls::Access;
  explicit Credentials(std::shared_ptr<const tls::CredentialsData> data) : data_(std::move(data)) {}

  std::shared_ptr<const tls::CredentialsData> data_;
};

// Describes the first certificate in `pem`. Fails with kInvalid.
HEDDLE_API Result<Certificate> parse_certificate(std::string_view pem);

}  // namespace heddle
