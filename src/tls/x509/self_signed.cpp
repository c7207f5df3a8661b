// Keys and certificates made at run time.
#include <chrono>
#include <string>

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "heddle/address.h"
#include "heddle/error_queue.h"
#include "heddle/tls/certificate.h"

#include "base/die.h"
#include "openssl/error.h"
#include "tls/x509/certificate_data.h"

namespace heddle {
namespace {

using openssl::error_from_queue;

constexpr const char* kOperation = "make a self-signed certificate";

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

bool add_extension(X509* certificate, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const openssl::X509ExtensionPtr extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// The names come from a command line or configuration: only what a host name or
// address consists of may reach OpenSSL's little language for extensions.
bool is_plain(const std::string& name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*:";
  return !name.empty() && name.size() <= 255 &&
         name.find_first_not_of(kAllowed) == std::string::npos &&
         (name.find(':') == std::string::npos || Address::from_ip(name, 0));
}

bool set_serial(X509* certificate) {
  std::array<unsigned char, 16> random{};
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) return false;
  random[0] = static_cast<unsigned char>((random[0] & 0x7fU) | 0x40U);  // Positive, full length.
  const openssl::BignumPtr number(
      BN_bin2bn(random.data(), static_cast<int>(random.size()), nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool set_subject(X509* certificate, const std::string& name) {
  constexpr std::size_t kCommonNameMax = 64;  // ub-common-name of RFC 5280.
  const openssl::X509NamePtr subject(X509_NAME_new());
  const auto* const text = reinterpret_cast<const unsigned char*>(name.data());
  const int size = static_cast<int>(std::min(name.size(), kCommonNameMax));
  return subject &&
         X509_NAME_add_entry_by_txt(subject.get(), "CN", MBSTRING_UTF8, text, size, -1, 0) == 1 &&
         X509_set_subject_name(certificate, subject.get()) == 1 &&
         X509_set_issuer_name(certificate, subject.get()) == 1;
}

// Meets X509_V_FLAG_X509_STRICT as a leaf that is its own trust anchor.
bool fill(X509* certificate, EVP_PKEY* key, const std::vector<std::string>& names, int days) {
  std::string alternatives;
  for (const std::string& name : names) {
    if (!alternatives.empty()) alternatives += ',';
    alternatives += (Address::from_ip(name, 0) ? "IP:" : "DNS:") + name;
  }
  return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) != nullptr &&
         X509_time_adj_ex(X509_getm_notAfter(certificate), days, 0, nullptr) != nullptr &&
         X509_set_pubkey(certificate, key) == 1 && set_subject(certificate, names.front()) &&
         add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
         add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
         add_extension(certificate, NID_ext_key_usage, "serverAuth,clientAuth") &&
         add_extension(certificate, NID_subject_key_identifier, "hash") &&
         add_extension(certificate, NID_authority_key_identifier, "keyid:always") &&
         add_extension(certificate, NID_subject_alt_name, alternatives);
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace

Result<Identity> make_self_signed(const std::vector<std::string>& names, KeyType type, int days) {
  if (names.empty()) {
    die("make_self_signed() without a name: name the host or the address that it is for");
  }
  const ErrorQueueScope scope(Leftovers::kDrop);
  for (const std::string& name : names) {
    if (!is_plain(name)) {
      return Error{.code = Errc::kInvalid,
                   .operation = "make a self-signed certificate: not a host name or address"};
    }
  }
  const openssl::KeyPtr key = make_key(type);
  const openssl::X509Ptr certificate(X509_new());
  const openssl::BioPtr certificate_pem(BIO_new(BIO_s_mem()));
  const openssl::BioPtr key_pem(BIO_new(BIO_s_secmem()));
  if (!key || !certificate || !certificate_pem || !key_pem) {
    return error_from_queue(Errc::kExhausted, kOperation);
  }
  const EVP_MD* const digest = type == KeyType::kEd25519 ? nullptr : EVP_sha256();
  if (!fill(certificate.get(), key.get(), names, days) ||
      X509_sign(certificate.get(), key.get(), digest) == 0 ||
      PEM_write_bio_X509(certificate_pem.get(), certificate.get()) != 1 ||
      PEM_write_bio_PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) !=
          1) {
    return error_from_queue(Errc::kInvalid, kOperation);
  }
  return Identity{text_of(certificate_pem.get()), text_of(key_pem.get()),
                  tls::fingerprint(tls::der_of(certificate.get()))};
}

}  // namespace heddle
