// Reading certificates.
#include "tls/x509/certificate_data.h"

#include <array>
#include <cstdio>
#include <ctime>

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "heddle/error_queue.h"

#include "base/printable.h"
#include "tls/x509/pem.h"

namespace heddle {
namespace tls {
namespace {

// OpenSSL escapes ASCII's control characters only, and believes that text is the UTF-8 that it is
// said to be.
std::string name_text(const X509_NAME* name) {
  const openssl::BioPtr bio(BIO_new(BIO_s_mem()));
  // Without ASN1_STRFLGS_ESC_MSB: UTF-8 stays readable.
  constexpr unsigned long kFlags = XN_FLAG_RFC2253 & ~unsigned{ASN1_STRFLGS_ESC_MSB};
  if (!bio || X509_NAME_print_ex(bio.get(), name, 0, kFlags) < 0) return {};
  return text_of(bio.get());
}

std::string time_text(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%SZ", &parts);
  return {text.data(), size};
}

// Control characters and NUL bytes, which could forge a log line, as \xx.
std::string escaped(const ASN1_STRING* from) {
  std::string text;
  const unsigned char* const bytes = ASN1_STRING_get0_data(from);
  for (int i = 0; i < ASN1_STRING_length(from); ++i) {
    if (bytes[i] > 0x20 && bytes[i] < 0x7f && bytes[i] != '\\') {
      text += static_cast<char>(bytes[i]);
    } else {
      std::array<char, 4> hex{};
      (void)std::snprintf(hex.data(), hex.size(), "\\%02X", static_cast<unsigned>(bytes[i]));
      text += hex.data();
    }
  }
  return text;
}

std::string ip_text(const ASN1_OCTET_STRING* octets) {
  const unsigned char* const bytes = ASN1_STRING_get0_data(octets);
  std::array<char, 48> out{};
  if (ASN1_STRING_length(octets) == 4) {
    (void)std::snprintf(out.data(), out.size(), "%u.%u.%u.%u", static_cast<unsigned>(bytes[0]),
                        static_cast<unsigned>(bytes[1]), static_cast<unsigned>(bytes[2]),
                        static_cast<unsigned>(bytes[3]));
    return out.data();
  }
  if (ASN1_STRING_length(octets) != 16) return {};
  std::string all;
  for (std::size_t group = 0; group < 8; ++group) {
    const unsigned value = (unsigned{bytes[2 * group]} << 8) | bytes[2 * group + 1];
    (void)std::snprintf(out.data(), out.size(), group == 0 ? "%X" : ":%X", value);
    all += out.data();
  }
  return all;
}

std::vector<std::string> alternative_names(const X509* certificate) {
  std::vector<std::string> names;
  const openssl::GeneralNamesPtr all(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(all.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(all.get(), i);
    if (name->type == GEN_DNS) names.push_back("DNS:" + escaped(name->d.dNSName));
    if (name->type == GEN_IPADD) names.push_back("IP:" + ip_text(name->d.iPAddress));
  }
  return names;
}

std::string key_text(X509* certificate) {
  const EVP_PKEY* const key = X509_get0_pubkey(certificate);
  if (key == nullptr) return {};
  const char* const type = EVP_PKEY_get0_type_name(key);
  return std::string(type != nullptr ? type : "unknown") + " " +
         std::to_string(EVP_PKEY_get_bits(key)) + " bits";
}

}  // namespace

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

std::string serial_text(const X509* certificate) {
  const openssl::BignumPtr number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  if (!number) return {};
  const openssl::MemoryPtr text(BN_bn2hex(number.get()));
  return text ? text.get() : "";
}

std::optional<std::chrono::sys_seconds> time_point(const ASN1_TIME* time) {
  std::tm parts{};
  // With null OpenSSL tells the time of now.
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
  using namespace std::chrono;  // NOLINT(google-build-using-namespace): of literals and units.
  const year_month_day day(year(parts.tm_year + 1900),
                           month(static_cast<unsigned>(parts.tm_mon + 1)),
                           std::chrono::day(static_cast<unsigned>(parts.tm_mday)));
  return sys_days(day) + hours(parts.tm_hour) + minutes(parts.tm_min) + seconds(parts.tm_sec);
}

std::string fingerprint(std::string_view der) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(der.data(), der.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    return {};
  }
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    std::array<char, 4> hex{};
    (void)std::snprintf(hex.data(), hex.size(), i == 0 ? "%02X" : ":%02X",
                        static_cast<unsigned>(digest[i]));
    text += hex.data();
  }
  return text;
}

std::string der_of(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) return {};
  const openssl::MemoryPtr owned(reinterpret_cast<char*>(der));
  return {owned.get(), static_cast<std::size_t>(size)};
}

std::string printable_name(const X509_NAME* name) {
  return printable(name_text(name));
}

std::string subject_of(const X509* certificate, std::size_t bytes_max) {
  return printable(name_text(X509_get_subject_name(certificate)), bytes_max);
}

Certificate describe(X509* certificate) {
  Certificate data;
  data.subject = printable(name_text(X509_get_subject_name(certificate)));
  data.issuer = printable(name_text(X509_get_issuer_name(certificate)));
  data.serial = serial_text(certificate);
  data.not_before = time_text(X509_get0_notBefore(certificate));
  data.not_after = time_text(X509_get0_notAfter(certificate));
  data.subject_alt_names = alternative_names(certificate);
  data.key = key_text(certificate);
  data.der = der_of(certificate);
  data.sha256 = fingerprint(data.der);
  return data;
}

}  // namespace tls

Result<Certificate> parse_certificate(std::string_view pem) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto chain = tls::parse_chain(pem, "parse a certificate");
  if (!chain) return chain.error();
  return tls::describe(chain->front().get());
}

}  // namespace heddle
