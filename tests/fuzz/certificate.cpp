// Certificates, in DER and in PEM: read and described.
#include "heddle/tls/certificate.h"

#include <algorithm>

#include <openssl/err.h>

#include "heddle/tls/certificate_details.h"

#include "base/printable.h"
#include "fuzz/fuzz.h"
#include "tls/x509/certificate_data.h"
#include "tls/x509/pem.h"

using heddle::fuzz::require;

namespace {

void check(const heddle::Certificate& certificate) {
  require(certificate.sha256.size() == 95, "a fingerprint has 32 bytes");
  for (const std::string& text : {certificate.subject, certificate.issuer, certificate.serial,
                                  certificate.not_before, certificate.not_after}) {
    require(text.find('\0') == std::string::npos, "texts have no zero bytes");
  }
}

void check(const heddle::ObjectId& id) {
  require(id.oid.empty() == id.name.empty(), "an object identifier has both forms or none");
  require(id.oid.find_first_not_of("0123456789.") == std::string::npos, "digits and dots");
}

void check(const heddle::DistinguishedName& name) {
  for (const heddle::RelativeName& set : name) {
    require(!set.empty(), "no set of attributes is empty");
    for (const heddle::NameAttribute& attribute : set) check(attribute.type);
  }
}

void check(const heddle::AlternativeName& name) {
  using Kind = heddle::AlternativeNameKind;
  check(name.type);
  check(name.directory);
  require(heddle::printable(name.text) == name.text, "texts are safe to log");
  require(name.directory.empty() || name.kind == Kind::kDirectory, "only these have a name inside");
  if (name.kind == Kind::kIp) {
    const bool is_address = name.value.size() == 4 || name.value.size() == 16;
    require(name.text.empty() != is_address, "an address has a text");
  }
}

bool is_named(const heddle::CertificateDetails& details, const char* field) {
  return std::ranges::find(details.malformed, field) != details.malformed.end();
}

void check(const heddle::CertificateDetails& details, const heddle::Certificate& summary) {
  require(details.sha256 == summary.sha256 && details.serial == summary.serial, "one certificate");
  require(details.spki_sha256.size() == 95, "a fingerprint has 32 bytes");
  check(details.subject);
  check(details.issuer);
  check(details.signature_algorithm);
  for (const heddle::AlternativeName& name : details.subject_alt_names) check(name);
  for (const heddle::ObjectId& id :
       details.extended_key_usage.value_or(std::vector<heddle::ObjectId>()))
    check(id);
  for (const heddle::CertificateExtension& each : details.extensions) check(each.id);
  require(details.not_before.has_value() != is_named(details, "not_before"), "a time or a remark");
  require(details.not_after.has_value() != is_named(details, "not_after"), "a time or a remark");
  require(details.not_after.has_value() != summary.not_after.empty(), "text and time point agree");
  require(details.key.type.empty() == is_named(details, "key"), "a key or a remark");
  require(!details.key_usage || details.key_usage->size() <= 9, "there are nine uses");
  std::size_t bytes = 0;
  for (const auto* urls : {&details.ocsp_urls, &details.ca_issuer_urls, &details.crl_urls}) {
    for (const std::string& url : *urls) bytes += url.size();
  }
  require(bytes <= summary.der.size(), "what is read was there");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed = heddle::tls::parse_der(std::as_bytes(std::span(data, size)), "fuzz");
  if (parsed) check(heddle::tls::describe(parsed->get()));
  ERR_clear_error();  // That was inside the library, where others see to it.
  const std::string_view text = heddle::fuzz::text_of(data, size);
  const auto from_pem = heddle::parse_certificate(text);
  if (from_pem) check(*from_pem);
  const auto from_der = heddle::parse_certificate_der(text);
  require(from_der.has_value() == parsed.has_value(), "both read the same");
  if (from_der) {
    const auto details = heddle::certificate_details(text);
    require(details.has_value(), "what has a summary has details");
    check(*details, *from_der);
    const auto again = heddle::parse_certificate(heddle::certificate_pem(text));
    require(again.has_value() && again->sha256 == from_der->sha256, "PEM and back");
  }
  (void)heddle::parse_certificates(text);
  (void)heddle::describe_private_key(text);
  require(ERR_peek_error() == 0, "nothing is left in the error queue");
  return 0;
}
