// Certificates as data, and certificates made at run time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
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
// control characters, those that change the direction of text, and bytes that are not UTF-8 are
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

// Makes a new key and a self-signed certificate for `names` (DNS names and IP addresses), valid
// from an hour ago for `days`. A client that trusts this certificate accepts the server that
// presents it. Takes up to a second for RSA, and several for its 4096 bits. Precondition: `names`
// is not empty. Fails with kInvalid (a name that no certificate can hold, which is then the error's
// context) or kExhausted.
HEDDLE_API Result<Identity> make_self_signed(const std::vector<std::string>& names,
                                             KeyType type = KeyType::kEcdsaP256, int days = 365);

// Returns the password of an encrypted key; called only when one is needed. It must not park, which
// ends the process: OpenSSL is in the middle of reading the key.
using PasswordCallback = std::function<Result<std::string>()>;

// Credentials are a certificate chain and its private key, parsed, ready to be presented; or
// several of them, for keys of different types. Copies are cheap.
//
// Threads:  any may use a copy.
class HEDDLE_API Credentials {
 public:
  // As Context::use_cert_chain(). Either may also be DER: one certificate, and a key as PKCS#8,
  // encrypted or not, or in the older form of its type.
  static Result<Credentials> parse(std::string_view chain, std::string_view key,
                                   std::string_view password = {});
  // If the key is encrypted, an Error of `password` is the Error of this call.
  static Result<Credentials> parse(std::string_view chain, std::string_view key,
                                   const PasswordCallback& password);

  // The same from files of at most a mebibyte; the key may lie in the chain's file.
  static Result<Credentials> load(const std::filesystem::path& chain,
                                  const std::filesystem::path& key, std::string_view password = {});

  // From PKCS#12 (RFC 7292; files named .p12 or .pfx): key, certificate, and the others in it as
  // the rest of the chain. Fails with kInvalid, also for a wrong password.
  static Result<Credentials> parse_pkcs12(std::span<const std::byte> der,
                                          std::string_view password = {});

  // For a key in one of OpenSSL's stores, by its URI (ossl_store(7)): "file:/path/key.pem", or
  // "pkcs11:..." and "handle:..." if a provider for those is loaded. `password` is the key's, or
  // the PIN.
  static Result<Credentials> open(std::string_view chain, const std::string& key_uri,
                                  std::string_view password = {});

  // Combines `several` into one: a peer is shown the one that it can use, by the type of key. Fails
  // with kInvalid if two have keys of the same type. Precondition: there is at least one.
  static Result<Credentials> combine(std::span<const Credentials> several);

  // When the first of their certificates expires, those of CAs included; and when the last of them
  // becomes valid.
  std::chrono::system_clock::time_point not_after() const;
  std::chrono::system_clock::time_point not_before() const;

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
