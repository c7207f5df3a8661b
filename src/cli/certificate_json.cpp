// JSON of certificates: see certificate_json.h.
#include "cli/certificate_json.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace heddle::cli {
namespace {

using Json = nlohmann::ordered_json;  // Keeps the order in which members were added.
using Time = std::chrono::sys_seconds;

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    text += fmt::format("{:02X}", static_cast<unsigned>(static_cast<unsigned char>(byte)));
  }
  return text;
}

struct Moment {
  std::chrono::year_month_day day;
  std::chrono::hh_mm_ss<std::chrono::seconds> clock;
};

Moment moment(Time time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  return {.day = std::chrono::year_month_day(day),
          .clock = std::chrono::hh_mm_ss<std::chrono::seconds>(time - day)};
}

// "Jan  5 09:34:43 2018 GMT", as ASN1_TIME_print(3) writes it.
Json as_python_writes(const std::optional<Time>& time) {
  constexpr std::array kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  if (!time) return nullptr;
  const Moment at = moment(*time);
  return fmt::format(
      "{} {:2} {:02}:{:02}:{:02} {} GMT", kMonths[static_cast<unsigned>(at.day.month()) - 1],
      static_cast<unsigned>(at.day.day()), at.clock.hours().count(), at.clock.minutes().count(),
      at.clock.seconds().count(), static_cast<int>(at.day.year()));
}

// RFC 3339.
Json as_iso(const std::optional<Time>& time) {
  if (!time) return nullptr;
  const Moment at = moment(*time);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(at.day.year()),
                     static_cast<unsigned>(at.day.month()), static_cast<unsigned>(at.day.day()),
                     at.clock.hours().count(), at.clock.minutes().count(),
                     at.clock.seconds().count());
}

Json name_as_json(const DistinguishedName& name) {
  Json sets = Json::array();
  for (const RelativeName& set : name) {
    Json attributes = Json::array();
    for (const NameAttribute& each : set) {
      // What is no text is shown as in RFC 4514, section 2.4.
      std::string value = each.value;
      if (!each.is_text) value = fmt::format("#{}", hex(each.value));
      attributes.push_back(Json::array({each.type.name, value}));
    }
    sets.push_back(std::move(attributes));
  }
  return sets;
}

std::string ip_text(const std::string& octets) {
  const auto at = [&octets](std::size_t i) {
    return static_cast<unsigned>(static_cast<unsigned char>(octets[i]));
  };
  if (octets.size() == 4) return fmt::format("{}.{}.{}.{}", at(0), at(1), at(2), at(3));
  if (octets.size() != 16) return "<invalid>";
  std::string text;
  for (std::size_t i = 0; i < 16; i += 2) {
    text += fmt::format("{}{:X}", i == 0 ? "" : ":", at(i) << 8U | at(i + 1));
  }
  return text;
}

// GENERAL_NAME_print(3) names the types that are used, if the value is a string of that type.
std::string other_name_text(const AlternativeName& name) {
  struct Known {
    const char* oid;
    const char* name;
    char tag;  // UTF8String or IA5String.
  };
  constexpr std::array kKnown = {Known{"1.3.6.1.4.1.311.20.2.3", "UPN", '\x0c'},
                                 Known{"1.3.6.1.5.5.7.8.5", "XmppAddr", '\x0c'},
                                 Known{"1.3.6.1.5.5.7.8.7", "SRVName", '\x16'},
                                 Known{"1.3.6.1.5.5.7.8.8", "NAIRealm", '\x0c'},
                                 Known{"1.3.6.1.5.5.7.8.9", "SmtpUTF8Mailbox", '\x0c'}};
  for (const Known& known : kKnown) {
    if (name.type.oid == known.oid && name.value.starts_with(known.tag)) {
      return fmt::format("{}:{}", known.name, name.text);
    }
  }
  return "<unsupported>";
}

Json alternative_as_json(const AlternativeName& name) {
  using Kind = AlternativeNameKind;
  switch (name.kind) {
    case Kind::kDns:
      return Json::array({"DNS", name.value});
    case Kind::kEmail:
      return Json::array({"email", name.value});
    case Kind::kUri:
      return Json::array({"URI", name.value});
    case Kind::kIp:
      return Json::array({"IP Address", ip_text(name.value)});
    case Kind::kDirectory:
      return Json::array({"DirName", name_as_json(name.directory)});
    case Kind::kRegisteredId:
      return Json::array({"Registered ID", name.type.name});
    case Kind::kOther:
      return Json::array({"othername", other_name_text(name)});
    case Kind::kX400:
      return Json::array({"X400Name", "<unsupported>"});
    case Kind::kEdiParty:
      return Json::array({"EdiPartyName", "<unsupported>"});
  }
  return nullptr;
}

void add_list(Json& into, const char* name, const std::vector<std::string>& values) {
  if (!values.empty()) into[name] = values;
}

void add_python_members(Json& json, const CertificateDetails& details) {
  json["subject"] = name_as_json(details.subject);
  json["issuer"] = name_as_json(details.issuer);
  json["version"] = details.version;
  json["serialNumber"] = details.serial == "0" ? "00" : details.serial;
  json["notBefore"] = as_python_writes(details.not_before);
  json["notAfter"] = as_python_writes(details.not_after);
  for (const AlternativeName& name : details.subject_alt_names) {
    json["subjectAltName"].push_back(alternative_as_json(name));
  }
  add_list(json, "OCSP", details.ocsp_urls);
  add_list(json, "caIssuers", details.ca_issuer_urls);
  add_list(json, "crlDistributionPoints", details.crl_urls);
}

Json key_as_json(const KeyDescription& key) {
  Json json = {{"type", key.type}, {"bits", key.bits}, {"securityBits", key.security_bits}};
  if (!key.curve.empty()) json["curve"] = key.curve;
  return json;
}

void add_usage(Json& json, const CertificateDetails& details) {
  if (const auto& constraints = details.basic_constraints) {
    json["basicConstraints"]["ca"] = constraints->is_ca;
    if (constraints->path_length) {
      json["basicConstraints"]["pathLength"] = *constraints->path_length;
    }
  }
  if (details.key_usage) {
    json["keyUsage"] = Json::array();
    for (const KeyUse use : *details.key_usage) {
      json["keyUsage"].push_back(key_use_name(use));
    }
  }
  if (details.extended_key_usage) {
    json["extendedKeyUsage"] = Json::array();
    for (const ObjectId& each : *details.extended_key_usage) {
      json["extendedKeyUsage"].push_back({{"oid", each.oid}, {"name", each.name}});
    }
  }
}

Json certificate_as_json(const Certificate& certificate) {
  Json json = Json::object();
  const Result<CertificateDetails> details = certificate_details(certificate.der);
  if (!details) return json;  // It was read before: cannot be.
  add_python_members(json, *details);
  json["validFrom"] = as_iso(details->not_before);
  json["validUntil"] = as_iso(details->not_after);
  json["key"] = key_as_json(details->key);
  json["signatureAlgorithm"] = details->signature_algorithm.name;
  json["sha256"] = details->sha256;
  json["spkiSha256"] = details->spki_sha256;
  add_usage(json, *details);
  if (!details->subject_key_id.empty()) json["subjectKeyIdentifier"] = hex(details->subject_key_id);
  if (!details->authority_key_id.empty()) {
    json["authorityKeyIdentifier"] = hex(details->authority_key_id);
  }
  json["extensions"] = Json::array();
  for (const CertificateExtension& each : details->extensions) {
    json["extensions"].push_back({{"oid", each.id.oid},
                                  {"name", each.id.name},
                                  {"critical", each.critical},
                                  {"der", hex(each.der)}});
  }
  json["malformed"] = details->malformed;
  json["pem"] = certificate_pem(certificate.der);
  return json;
}

}  // namespace

std::string certificates_as_json(const std::vector<Certificate>& certificates) {
  Json all = Json::array();
  for (const Certificate& each : certificates) all.push_back(certificate_as_json(each));
  return all.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

const char* key_use_name(KeyUse use) {
  constexpr std::array kNames = {"digitalSignature", "nonRepudiation", "keyEncipherment",
                                 "dataEncipherment", "keyAgreement",   "keyCertSign",
                                 "cRLSign",          "encipherOnly",   "decipherOnly"};
  return kNames.at(static_cast<std::size_t>(use));
}

}  // namespace heddle::cli
