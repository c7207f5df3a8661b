// Names and object identifiers of certificates as data.
#include "tls/x509/name_data.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include "base/printable.h"
#include "tls/x509/certificate_data.h"

namespace heddle::tls {
namespace {

std::string ip_text(const std::string& octets) {
  if (octets.size() != 4 && octets.size() != 16) return {};
  std::array<char, INET6_ADDRSTRLEN> text{};
  const int family = octets.size() == 4 ? AF_INET : AF_INET6;
  const char* const shown = inet_ntop(family, octets.data(), text.data(), text.size());
  return shown != nullptr ? shown : "";
}

template <typename T, typename Encode>
std::string encoded(const T* value, Encode encode) {
  unsigned char* der = nullptr;
  const int size = encode(value, &der);
  if (size <= 0) return {};
  const openssl::MemoryPtr owned(reinterpret_cast<char*>(der));
  return {owned.get(), static_cast<std::size_t>(size)};
}

// The text of a value of any type; empty if it is none.
std::string text_of_any(const ASN1_TYPE* value) {
  switch (ASN1_TYPE_get(value)) {
    case V_ASN1_UTF8STRING:
    case V_ASN1_IA5STRING:
    case V_ASN1_PRINTABLESTRING:
    case V_ASN1_VISIBLESTRING:
      return printable(bytes_of(value->value.asn1_string));
    default:
      return {};
  }
}

void take_bytes(AlternativeName& into, AlternativeNameKind kind, const ASN1_STRING* from) {
  into.kind = kind;
  into.value = bytes_of(from);
  into.text = kind == AlternativeNameKind::kIp ? ip_text(into.value) : printable(into.value);
}

AlternativeName alternative_name(const GENERAL_NAME* name) {
  using Kind = AlternativeNameKind;
  AlternativeName data;
  switch (name->type) {
    case GEN_DNS:
      take_bytes(data, Kind::kDns, name->d.dNSName);
      return data;
    case GEN_EMAIL:
      take_bytes(data, Kind::kEmail, name->d.rfc822Name);
      return data;
    case GEN_URI:
      take_bytes(data, Kind::kUri, name->d.uniformResourceIdentifier);
      return data;
    case GEN_IPADD:
      take_bytes(data, Kind::kIp, name->d.iPAddress);
      return data;
    case GEN_DIRNAME:
      data.kind = Kind::kDirectory;
      data.directory = distinguished_name(name->d.directoryName);
      data.text = printable_name(name->d.directoryName);
      return data;
    case GEN_RID:
      data.kind = Kind::kRegisteredId;
      data.type = object_id(name->d.registeredID);
      data.text = data.type.oid;
      return data;
    case GEN_OTHERNAME:
      data.kind = Kind::kOther;
      data.type = object_id(name->d.otherName->type_id);
      data.value = encoded(name->d.otherName->value, i2d_ASN1_TYPE);
      data.text = text_of_any(name->d.otherName->value);
      return data;
    default:
      data.kind = name->type == GEN_X400 ? Kind::kX400 : Kind::kEdiParty;
      data.value = encoded(name, i2d_GENERAL_NAME);
      return data;
  }
}

}  // namespace

std::string bytes_of(const ASN1_STRING* string) {
  if (string == nullptr || ASN1_STRING_length(string) <= 0) return {};
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
          static_cast<std::size_t>(ASN1_STRING_length(string))};
}

ObjectId object_id(const ASN1_OBJECT* object) {
  // OBJ_obj2txt() takes quadratic time before OpenSSL 3.0.9 (CVE-2023-2650).
  constexpr std::size_t kEncodedMax = 128;
  if (object == nullptr || OBJ_length(object) == 0 || OBJ_length(object) > kEncodedMax) return {};
  const auto text = [object](int numeric) -> std::string {
    std::array<char, 8 * kEncodedMax> buffer{};
    const int size = OBJ_obj2txt(buffer.data(), static_cast<int>(buffer.size()), object, numeric);
    if (size <= 0 || static_cast<std::size_t>(size) >= buffer.size()) return {};
    return {buffer.data(), static_cast<std::size_t>(size)};
  };
  return {.oid = text(1), .name = text(0)};
}

DistinguishedName distinguished_name(const X509_NAME* name) {
  DistinguishedName all;
  int set = -1;
  for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
    const X509_NAME_ENTRY* const entry = X509_NAME_get_entry(name, i);
    if (all.empty() || X509_NAME_ENTRY_set(entry) != set) all.emplace_back();
    set = X509_NAME_ENTRY_set(entry);
    const ASN1_STRING* const value = X509_NAME_ENTRY_get_data(entry);
    NameAttribute attribute{.type = object_id(X509_NAME_ENTRY_get_object(entry)), .value = {}};
    unsigned char* utf8 = nullptr;
    const int size = ASN1_STRING_to_UTF8(&utf8, value);
    const openssl::MemoryPtr owned(reinterpret_cast<char*>(utf8));
    attribute.is_text = size >= 0;
    attribute.value =
        size >= 0 ? std::string(owned.get(), static_cast<std::size_t>(size)) : bytes_of(value);
    all.back().push_back(std::move(attribute));
  }
  return all;
}

bool is_all_text(const DistinguishedName& name) {
  return std::ranges::all_of(name, [](const RelativeName& set) {
    return std::ranges::all_of(set, &NameAttribute::is_text);
  });
}

std::vector<AlternativeName> alternative_names(const GENERAL_NAMES* names) {
  std::vector<AlternativeName> all;
  all.reserve(static_cast<std::size_t>(std::max(sk_GENERAL_NAME_num(names), 0)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    all.push_back(alternative_name(sk_GENERAL_NAME_value(names, i)));
  }
  return all;
}

}  // namespace heddle::tls
