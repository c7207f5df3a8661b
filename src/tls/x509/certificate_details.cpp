// Reading all of a certificate.
#include "heddle/tls/certificate_details.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <ctime>
#include <limits>
#include <span>
#include <utility>

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "heddle/error_queue.h"

#include "openssl/error.h"
#include "tls/x509/certificate_data.h"
#include "tls/x509/name_data.h"
#include "tls/x509/pem.h"

namespace heddle {
namespace tls {
namespace {

constexpr std::size_t kDerBytesMax = std::size_t{1} << 20;
constexpr std::size_t kPemBytesMax = std::size_t{4} << 20;

using AccessPtr = openssl::Handle<AUTHORITY_INFO_ACCESS, AUTHORITY_INFO_ACCESS_free>;
using PointsPtr = openssl::Handle<CRL_DIST_POINTS, CRL_DIST_POINTS_free>;
using PurposesPtr = openssl::Handle<EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free>;
using ConstraintsPtr = openssl::Handle<BASIC_CONSTRAINTS, BASIC_CONSTRAINTS_free>;
using AuthorityKeyPtr = openssl::Handle<AUTHORITY_KEYID, AUTHORITY_KEYID_free>;
using OctetsPtr = openssl::Handle<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free>;
using BitsPtr = openssl::Handle<ASN1_BIT_STRING, ASN1_BIT_STRING_free>;

Error too_large(const char* operation) {
  return {.code = Errc::kInvalid, .operation = operation};
}

// Reads one certificate's extensions, and notes which of them are malformed.
class ExtensionReader {
 public:
  ExtensionReader(const X509* certificate, std::vector<std::string>& malformed)
      : certificate_(certificate), malformed_(malformed) {}

  template <typename Owner>
  Owner read(int nid) {
    constexpr int kMissing = -1;
    int critical = kMissing;  // -2 if the extension is there more than once.
    Owner found(static_cast<typename Owner::pointer>(
        X509_get_ext_d2i(certificate_, nid, &critical, nullptr)));
    if (!found && critical != kMissing) malformed_.emplace_back(OBJ_nid2sn(nid));
    return found;
  }

 private:
  const X509* certificate_;
  std::vector<std::string>& malformed_;
};

KeyDescription describe_key(const EVP_PKEY* key) {
  KeyDescription data;
  const char* const type = EVP_PKEY_get0_type_name(key);
  data.type = type != nullptr ? type : "unknown";
  data.bits = EVP_PKEY_get_bits(key);
  data.security_bits = EVP_PKEY_get_security_bits(key);
  std::array<char, 80> curve{};
  std::size_t size = 0;
  if (data.type == "EC" && EVP_PKEY_get_group_name(key, curve.data(), curve.size(), &size) == 1) {
    data.curve = curve.data();
  }
  return data;
}

std::string spki_fingerprint(const X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) return {};
  const openssl::MemoryPtr owned(reinterpret_cast<char*>(der));
  return fingerprint({owned.get(), static_cast<std::size_t>(size)});
}

std::int64_t clamped(const ASN1_INTEGER* number) {
  std::int64_t value = 0;
  if (ASN1_INTEGER_get_int64(&value, number) == 1) return value;
  const bool negative = (ASN1_STRING_type(number) & V_ASN1_NEG) != 0;
  return negative ? std::numeric_limits<std::int64_t>::min()
                  : std::numeric_limits<std::int64_t>::max();
}

void read_urls(std::vector<std::string>& into, const GENERAL_NAME* name) {
  if (name->type == GEN_URI) into.push_back(bytes_of(name->d.uniformResourceIdentifier));
}

void read_access(CertificateDetails& data, ExtensionReader& reader) {
  const auto access = reader.read<AccessPtr>(NID_info_access);
  for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(access.get()); ++i) {
    const ACCESS_DESCRIPTION* const each = sk_ACCESS_DESCRIPTION_value(access.get(), i);
    const int method = OBJ_obj2nid(each->method);
    if (method == NID_ad_OCSP) read_urls(data.ocsp_urls, each->location);
    if (method == NID_ad_ca_issuers) read_urls(data.ca_issuer_urls, each->location);
  }
}

void read_crl_points(CertificateDetails& data, ExtensionReader& reader) {
  const auto points = reader.read<PointsPtr>(NID_crl_distribution_points);
  for (int i = 0; i < sk_DIST_POINT_num(points.get()); ++i) {
    const DIST_POINT* const point = sk_DIST_POINT_value(points.get(), i);
    // It may name the issuer of the CRL instead (CVE-2019-5010 of CPython), or be relative to it.
    constexpr int kFullName = 0;
    if (point->distpoint == nullptr || point->distpoint->type != kFullName) continue;
    const GENERAL_NAMES* const names = point->distpoint->name.fullname;
    for (int n = 0; n < sk_GENERAL_NAME_num(names); ++n) {
      read_urls(data.crl_urls, sk_GENERAL_NAME_value(names, n));
    }
  }
}

void read_usage(CertificateDetails& data, ExtensionReader& reader) {
  if (const auto bits = reader.read<BitsPtr>(NID_key_usage)) {
    std::vector<KeyUse>& uses = data.key_usage.emplace();
    for (int bit = 0; bit <= static_cast<int>(KeyUse::kDecipherOnly); ++bit) {
      if (ASN1_BIT_STRING_get_bit(bits.get(), bit) == 1) uses.push_back(static_cast<KeyUse>(bit));
    }
  }
  if (const auto purposes = reader.read<PurposesPtr>(NID_ext_key_usage)) {
    std::vector<ObjectId>& ids = data.extended_key_usage.emplace();
    for (int i = 0; i < sk_ASN1_OBJECT_num(purposes.get()); ++i) {
      ids.push_back(object_id(sk_ASN1_OBJECT_value(purposes.get(), i)));
    }
  }
}

void read_extensions(CertificateDetails& data, const X509* certificate) {
  ExtensionReader reader(certificate, data.malformed);
  data.subject_alt_names =
      alternative_names(reader.read<openssl::GeneralNamesPtr>(NID_subject_alt_name).get());
  if (const auto constraints = reader.read<ConstraintsPtr>(NID_basic_constraints)) {
    data.basic_constraints = BasicConstraints{.is_ca = constraints->ca != 0, .path_length = {}};
    if (constraints->pathlen != nullptr) {
      data.basic_constraints->path_length = clamped(constraints->pathlen);
    }
  }
  read_usage(data, reader);
  data.subject_key_id = bytes_of(reader.read<OctetsPtr>(NID_subject_key_identifier).get());
  if (const auto authority = reader.read<AuthorityKeyPtr>(NID_authority_key_identifier)) {
    data.authority_key_id = bytes_of(authority->keyid);
  }
  read_access(data, reader);
  read_crl_points(data, reader);
  for (int i = 0; i < X509_get_ext_count(certificate); ++i) {
    auto* const each = X509_get_ext(certificate, i);  // Not const before 4.0.
    data.extensions.push_back({.id = object_id(X509_EXTENSION_get_object(each)),
                               .critical = X509_EXTENSION_get_critical(each) != 0,
                               .der = bytes_of(X509_EXTENSION_get_data(each))});
  }
}

void note_malformed(CertificateDetails& data) {
  const auto note = [&data](bool is_good, const char* field) {
    if (!is_good) data.malformed.emplace_back(field);
  };
  note(is_all_text(data.subject), "subject");
  note(is_all_text(data.issuer), "issuer");
  note(data.not_before.has_value(), "not_before");
  note(data.not_after.has_value(), "not_after");
  note(!data.key.type.empty(), "key");
}

CertificateDetails details_of(X509* certificate) {
  CertificateDetails data;
  data.version = static_cast<int>(X509_get_version(certificate)) + 1;
  data.serial = serial_text(certificate);
  data.subject = distinguished_name(X509_get_subject_name(certificate));
  data.issuer = distinguished_name(X509_get_issuer_name(certificate));
  data.not_before = time_point(X509_get0_notBefore(certificate));
  data.not_after = time_point(X509_get0_notAfter(certificate));
  const EVP_PKEY* const key = X509_get0_pubkey(certificate);
  if (key != nullptr) data.key = describe_key(key);
  data.signature_algorithm = object_id(X509_get0_tbs_sigalg(certificate)->algorithm);
  data.sha256 = fingerprint(der_of(certificate));
  data.spki_sha256 = spki_fingerprint(certificate);
  note_malformed(data);
  read_extensions(data, certificate);
  return data;
}

}  // namespace
}  // namespace tls

Result<CertificateDetails> certificate_details(std::string_view der) {
  constexpr const char* kOperation = "read a certificate";
  if (der.size() > tls::kDerBytesMax) return tls::too_large(kOperation);
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto certificate = tls::parse_der(std::as_bytes(std::span(der)), kOperation);
  if (!certificate) return certificate.error();
  return tls::details_of(certificate->get());
}

Result<Certificate> parse_certificate_der(std::string_view der) {
  constexpr const char* kOperation = "parse a certificate";
  if (der.size() > tls::kDerBytesMax) return tls::too_large(kOperation);
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto certificate = tls::parse_der(std::as_bytes(std::span(der)), kOperation);
  if (!certificate) return certificate.error();
  return tls::describe(certificate->get());
}

Result<std::vector<Certificate>> parse_certificates(std::string_view pem) {
  constexpr const char* kOperation = "parse certificates";
  if (pem.size() > tls::kPemBytesMax) return tls::too_large(kOperation);
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto chain = tls::parse_chain(pem, kOperation);
  if (!chain) return chain.error();
  std::vector<Certificate> all;
  all.reserve(chain->size());
  for (const openssl::X509Ptr& each : *chain) all.push_back(tls::describe(each.get()));
  return all;
}

std::string certificate_pem(std::string_view der) {
  constexpr std::size_t kBytesPerLine = 48;  // 64 characters (RFC 7468, section 2).
  std::string pem = "-----BEGIN CERTIFICATE-----\n";
  for (; !der.empty(); der.remove_prefix(std::min(der.size(), kBytesPerLine))) {
    std::array<unsigned char, 4 * kBytesPerLine / 3 + 1> line{};
    const auto piece = der.substr(0, kBytesPerLine);
    const int size =
        EVP_EncodeBlock(line.data(), reinterpret_cast<const unsigned char*>(piece.data()),
                        static_cast<int>(piece.size()));
    pem.append(reinterpret_cast<const char*>(line.data()), static_cast<std::size_t>(size));
    pem += '\n';
  }
  return pem + "-----END CERTIFICATE-----\n";
}

Result<KeyDescription> describe_private_key(std::string_view key, std::string_view password) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto ask = [password]() -> Result<std::string> { return std::string(password); };
  const auto parsed = tls::parse_key(key, ask, "parse a private key");
  if (!parsed) return parsed.error();
  return tls::describe_key(parsed->get());
}

}  // namespace heddle
