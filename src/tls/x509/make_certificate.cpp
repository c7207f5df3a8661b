// Keys and certificates made at run time.
#include "heddle/tls/make_certificate.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <string>
#include <utility>

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "heddle/address.h"
#include "heddle/error_queue.h"
#include "heddle/tls/certificate.h"

#include "base/die.h"
#include "openssl/error.h"
#include "tls/x509/certificate_data.h"
#include "tls/x509/pem.h"

namespace heddle {
namespace {

using openssl::error_from_queue;

constexpr const char* kOperation = "make a certificate";
constexpr const char* kSelfSigned = "make a self-signed certificate";

// Who signs: the new certificate itself, or another one.
struct SignedBy {
  X509* certificate;
  EVP_PKEY* key;
};

struct Usage {
  std::string key;
  std::string extended;  // Or "".
  bool is_ca = false;
};

openssl::KeyPtr make_key(KeyType type) {
  switch (type) {
    case KeyType::kEcdsaP256:
      return openssl::KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
    case KeyType::kRsa2048:
      return openssl::KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{2048}));
    case KeyType::kEd25519:
      return openssl::KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
    case KeyType::kEcdsaP384:
      return openssl::KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-384"));
    case KeyType::kRsa4096:
      return openssl::KeyPtr(EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{4096}));
  }
  return nullptr;
}

// --- Names ---------------------------------------------------------------------------------------

bool is_host(const std::string& name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*:";
  return !name.empty() && name.size() <= 255 &&
         name.find_first_not_of(kAllowed) == std::string::npos &&
         (name.find(':') == std::string::npos || Address::from_ip(name, 0));
}

// Visible ASCII: what a mail address or URI in a certificate consists of.
bool is_visible(const std::string& text) {
  constexpr std::size_t kBytesMax = 2048;
  return text.size() <= kBytesMax &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; });
}

bool is_uri(const std::string& name) {
  const std::size_t colon = name.find("://");
  return colon != std::string::npos && colon != 0 && is_visible(name);
}

bool is_email(const std::string& name) {
  const std::size_t at = name.find('@');
  return at != std::string::npos && at != 0 && at + 1 < name.size() &&
         name.find('@', at + 1) == std::string::npos && is_visible(name);
}

using GeneralNamePtr = openssl::Handle<GENERAL_NAME, GENERAL_NAME_free>;

// Null if OpenSSL has no memory.
GeneralNamePtr general_name(const std::string& name) {
  GeneralNamePtr made(GENERAL_NAME_new());
  if (!made) return nullptr;
  if (Address::from_ip(name, 0)) {
    ASN1_OCTET_STRING* const octets = a2i_IPADDRESS(name.c_str());
    if (octets == nullptr) return nullptr;
    GENERAL_NAME_set0_value(made.get(), GEN_IPADD, octets);
    return made;
  }
  ASN1_IA5STRING* const text = ASN1_IA5STRING_new();
  if (text == nullptr) return nullptr;
  const int type = is_host(name) ? GEN_DNS : is_uri(name) ? GEN_URI : GEN_EMAIL;
  GENERAL_NAME_set0_value(made.get(), type, text);  // Owns `text` now.
  if (ASN1_STRING_set(text, name.data(), static_cast<int>(name.size())) != 1) return nullptr;
  return made;
}

bool add_alternatives(X509* certificate, const std::vector<std::string>& names) {
  const openssl::GeneralNamesPtr all(sk_GENERAL_NAME_new_null());
  if (!all) return false;
  for (const std::string& name : names) {
    GeneralNamePtr made = general_name(name);
    if (!made || sk_GENERAL_NAME_push(all.get(), made.get()) == 0) return false;
    (void)made.release();  // The stack owns it now.
  }
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, all.get(), 0, X509V3_ADD_APPEND) == 1;
}

// Not longer than ub-common-name of RFC 5280, and no character cut in two.
std::string common_name(std::string name) {
  constexpr std::size_t kBytesMax = 64;
  if (name.size() <= kBytesMax) return name;
  std::size_t end = kBytesMax;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0U) == 0x80U) --end;
  name.resize(end);
  return name;
}

bool set_subject(X509* certificate, const std::string& name) {
  const openssl::X509NamePtr subject(X509_NAME_new());
  const auto* const text = reinterpret_cast<const unsigned char*>(name.data());
  return subject &&
         X509_NAME_add_entry_by_txt(subject.get(), "CN", MBSTRING_UTF8, text,
                                    static_cast<int>(name.size()), -1, 0) == 1 &&
         X509_set_subject_name(certificate, subject.get()) == 1;
}

// --- The rest of a certificate -------------------------------------------------------------------

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const openssl::X509ExtensionPtr extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool set_serial(X509* certificate) {
  std::array<unsigned char, 16> random{};
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) return false;
  random[0] = static_cast<unsigned char>((random[0] & 0x7fU) | 0x40U);  // Positive, full length.
  const openssl::BignumPtr number(
      BN_bin2bn(random.data(), static_cast<int>(random.size()), nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_time(ASN1_TIME* time, std::chrono::seconds from_now) {
  using Days = std::chrono::duration<std::int64_t, std::ratio<86400>>;
  const auto days = std::chrono::duration_cast<Days>(from_now);
  if (std::abs(days.count()) > std::numeric_limits<int>::max()) return false;
  return X509_time_adj_ex(time, static_cast<int>(days.count()),
                          static_cast<long>((from_now - days).count()), nullptr) != nullptr;
}

Usage usage_of(const CertificateOptions& options) {
  const bool is_wrong = options.flaw == CertificateFlaw::kWrongUsage;
  if (options.purpose == CertificatePurpose::kAuthority) {
    return {.key = is_wrong ? "critical,digitalSignature" : "critical,keyCertSign,cRLSign",
            .extended = "",
            .is_ca = true};
  }
  const bool is_server = (options.purpose == CertificatePurpose::kServer) != is_wrong;
  return {.key = "critical,digitalSignature",
          .extended = is_server ? "serverAuth" : "clientAuth",
          .is_ca = false};
}

// Meets X509_V_FLAG_X509_STRICT, also as a leaf that is its own trust anchor.
bool fill(X509* certificate, EVP_PKEY* key, const CertificateOptions& options, const Usage& usage,
          const SignedBy& by) {
  const bool with_names =
      !options.names.empty() && options.flaw != CertificateFlaw::kNoAlternativeNames;
  const std::string& name =
      options.common_name.empty() ? options.names.front() : options.common_name;
  return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
         set_time(X509_getm_notBefore(certificate), options.begins) &&
         set_time(X509_getm_notAfter(certificate), options.ends) &&
         X509_set_pubkey(certificate, key) == 1 && set_subject(certificate, common_name(name)) &&
         X509_set_issuer_name(certificate, X509_get_subject_name(by.certificate)) == 1 &&
         add_extension(certificate, by.certificate, NID_basic_constraints,
                       usage.is_ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE") &&
         add_extension(certificate, by.certificate, NID_key_usage, usage.key) &&
         (usage.extended.empty() ||
          add_extension(certificate, by.certificate, NID_ext_key_usage, usage.extended)) &&
         add_extension(certificate, by.certificate, NID_subject_key_identifier, "hash") &&
         (options.flaw == CertificateFlaw::kNoAuthorityKeyId ||
          add_extension(certificate, by.certificate, NID_authority_key_identifier,
                        "keyid:always")) &&
         (!with_names || add_alternatives(certificate, options.names));
}

bool sign(X509* certificate, EVP_PKEY* key, CertificateFlaw flaw) {
  const bool has_own_digest =
      EVP_PKEY_is_a(key, "ED25519") == 1 || EVP_PKEY_is_a(key, "ED448") == 1;
  if (X509_sign(certificate, key, has_own_digest ? nullptr : EVP_sha256()) == 0) return false;
  if (flaw != CertificateFlaw::kBadSignature) return true;
  const ASN1_BIT_STRING* signature = nullptr;
  X509_get0_signature(&signature, nullptr, certificate);
  std::vector<unsigned char> bytes(
      ASN1_STRING_get0_data(signature),
      ASN1_STRING_get0_data(signature) + ASN1_STRING_length(signature));
  bytes.back() ^= 1U;
  return ASN1_STRING_set(const_cast<ASN1_BIT_STRING*>(signature), bytes.data(),
                         static_cast<int>(bytes.size())) == 1;
}

struct Issuer {
  openssl::X509Ptr certificate;
  openssl::KeyPtr key;
};

Result<Issuer> parse_issuer(const Identity& identity) {
  auto chain = tls::parse_chain(identity.certificate_pem, "parse the issuer's certificate");
  if (!chain) return chain.error();
  auto key = tls::parse_key(identity.key_pem, {}, "parse the issuer's private key");
  if (!key) return key.error();
  if (X509_check_private_key(chain->front().get(), key->get()) != 1) {
    return error_from_queue(Errc::kInvalid, "match the issuer's key with its certificate");
  }
  return Issuer{.certificate = std::move(chain->front()), .key = *std::move(key)};
}

// The names have been checked. With a null `issuer` it signs itself.
Result<Identity> make(const CertificateOptions& options, const Usage& usage, const Issuer* issuer,
                      const char* operation) {
  const openssl::KeyPtr key = make_key(options.key_type);
  const openssl::X509Ptr certificate(X509_new());
  const openssl::BioPtr certificate_pem(BIO_new(BIO_s_mem()));
  const openssl::BioPtr key_pem(BIO_new(BIO_s_secmem()));
  if (!key || !certificate || !certificate_pem || !key_pem) {
    return error_from_queue(Errc::kExhausted, operation);
  }
  const SignedBy by =
      issuer != nullptr
          ? SignedBy{.certificate = issuer->certificate.get(), .key = issuer->key.get()}
          : SignedBy{.certificate = certificate.get(), .key = key.get()};
  if (!fill(certificate.get(), key.get(), options, usage, by) ||
      !sign(certificate.get(), by.key, options.flaw) ||
      PEM_write_bio_X509(certificate_pem.get(), certificate.get()) != 1 ||
      PEM_write_bio_PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
          1) {
    return error_from_queue(Errc::kInvalid, operation);
  }
  return Identity{tls::text_of(certificate_pem.get()), tls::text_of(key_pem.get()),
                  tls::fingerprint(tls::der_of(certificate.get()))};
}

}  // namespace

Result<Identity> make_self_signed(const std::vector<std::string>& names, KeyType type, int days) {
  if (names.empty()) {
    die("make_self_signed() without a name: name the host or the address that it is for");
  }
  const ErrorQueueScope scope(Leftovers::kDrop);
  if (const auto bad = std::ranges::find_if_not(names, is_host); bad != names.end()) {
    const Error error{
        .code = Errc::kInvalid, .operation = kSelfSigned, .detail = "not a host name or address"};
    return error.with(*bad);
  }
  const Usage usage = {.key = "critical,digitalSignature", .extended = "serverAuth,clientAuth"};
  return make({.names = names, .key_type = type, .ends = std::chrono::hours(24) * days}, usage,
              nullptr, kSelfSigned);
}

Result<Identity> make_certificate(const CertificateOptions& options, const Identity* issuer) {
  if (options.names.empty() && options.common_name.empty()) {
    die("make_certificate() without a name: set common_name or names");
  }
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto is_name = [](const std::string& name) {
    return is_host(name) || is_uri(name) || is_email(name);
  };
  if (const auto bad = std::ranges::find_if_not(options.names, is_name);
      bad != options.names.end()) {
    const Error error{.code = Errc::kInvalid,
                      .operation = kOperation,
                      .detail = "not a host name, address, mail address or URI"};
    return error.with(*bad);
  }
  if (issuer == nullptr) return make(options, usage_of(options), nullptr, kOperation);
  const Result<Issuer> signer = parse_issuer(*issuer);
  if (!signer) return signer.error();
  return make(options, usage_of(options), &*signer, kOperation);
}

}  // namespace heddle
