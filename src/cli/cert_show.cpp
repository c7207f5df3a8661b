// heddle cert show: certificates of a file or a server for people to read, or as JSON.
#include <algorithm>
#include <cstddef>
#include <ctime>

#include <fmt/core.h>

#include "cli/cert.h"
#include "cli/certificate_json.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kCommand = "cert show";

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    text += fmt::format("{}{:02X}", text.empty() ? "" : ":",
                        static_cast<unsigned>(static_cast<unsigned char>(byte)));
  }
  return text;
}

// Bytes of a stranger's, without what could deceive a terminal.
std::string visible(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    if (byte > ' ' && byte < '\x7f') {
      text += byte;
    } else {
      text += fmt::format("\\{:02X}", static_cast<unsigned>(static_cast<unsigned char>(byte)));
    }
  }
  return text;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text.append(text.empty() ? "" : ", ").append(part);
  return text;
}

std::string usage_text(const CertificateDetails& details) {
  std::vector<std::string> parts;
  for (const KeyUse use : details.key_usage.value_or(std::vector<KeyUse>())) {
    parts.emplace_back(key_use_name(use));
  }
  for (const ObjectId& each : details.extended_key_usage.value_or(std::vector<ObjectId>())) {
    parts.push_back(each.name);
  }
  return joined(parts);
}

std::string key_text(const KeyDescription& key) {
  if (key.type.empty()) return "cannot be read";
  return fmt::format("{} {} bits{}{}", key.type, key.bits, key.curve.empty() ? "" : ", ",
                     key.curve);
}

std::string authority_text(const CertificateDetails& details) {
  const auto& constraints = details.basic_constraints;
  if (!constraints || !constraints->is_ca) return {};
  if (!constraints->path_length) return "yes";
  return fmt::format("yes, with up to {} intermediate ones below", *constraints->path_length);
}

// What is critical and yet not shown here matters to those who verify.
std::string other_extensions(const CertificateDetails& details) {
  constexpr std::string_view kShown[] = {"2.5.29.17", "2.5.29.19",        "2.5.29.15",
                                         "2.5.29.37", "2.5.29.14",        "2.5.29.35",
                                         "2.5.29.31", "1.3.6.1.5.5.7.1.1"};
  std::vector<std::string> parts;
  for (const CertificateExtension& each : details.extensions) {
    if (std::ranges::find(kShown, each.id.oid) != std::end(kShown)) continue;
    const std::string& name = each.id.name.empty() ? "?" : each.id.name;
    parts.push_back(each.critical ? name + " (critical)" : name);
  }
  return joined(parts);
}

std::string described(const Certificate& certificate, std::int64_t now) {
  const Result<CertificateDetails> details = certificate_details(certificate.der);
  if (!details) return "  cannot be read\n";
  std::string text;
  const auto add = [&text](std::string_view label, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<11} {}\n", label, value);
  };
  const auto add_all = [&add](std::string_view label, const std::vector<std::string>& values) {
    for (const std::string& value : values) add(label, visible(value));
  };
  const auto or_malformed = [](const std::string& value) {
    return value.empty() ? "(malformed)" : value;
  };
  add("subject", certificate.subject.empty() ? "(empty)" : certificate.subject);
  add("issuer", certificate.issuer == certificate.subject ? "itself" : certificate.issuer);
  add("names", names_text(*details));
  add("valid", fmt::format("{} to {}: {}", or_malformed(certificate.not_before),
                           or_malformed(certificate.not_after), time_left(*details, now)));
  add("key", key_text(details->key));
  add("signed with", details->signature_algorithm.name);
  add("used for", usage_text(*details));
  add("authority", authority_text(*details));
  add_all("OCSP", details->ocsp_urls);
  add_all("issuer at", details->ca_issuer_urls);
  add_all("CRL", details->crl_urls);
  add("also has", other_extensions(*details));
  add("version", details->version == 3 ? "" : std::to_string(details->version));
  add("serial", details->serial);
  add("key ID", hex(details->subject_key_id));
  add("issuer's", hex(details->authority_key_id));
  add("SHA-256", details->sha256);
  add("of the key", details->spki_sha256);
  add("malformed", joined(details->malformed));
  return text;
}

}  // namespace

std::int64_t unix_now() {
  return static_cast<std::int64_t>(std::time(nullptr));
}

std::string duration_text(std::int64_t seconds) {
  constexpr std::int64_t kMinute = 60;
  constexpr std::int64_t kHour = 3600;
  constexpr std::int64_t kDay = 86400;
  const auto count = [seconds](std::int64_t unit, std::string_view name) {
    const std::int64_t number = std::max<std::int64_t>(seconds / unit, 1);
    return fmt::format("{} {}{}", number, name, number == 1 ? "" : "s");
  };
  if (seconds >= kDay) return count(kDay, "day");
  if (seconds >= kHour) return count(kHour, "hour");
  return count(kMinute, "minute");
}

std::string time_left(const CertificateDetails& details, std::int64_t now) {
  if (!details.not_before || !details.not_after) return "no time is readable";
  const std::int64_t from = details.not_before->time_since_epoch().count();
  const std::int64_t until = details.not_after->time_since_epoch().count();
  if (until < now) return fmt::format("EXPIRED {} ago", duration_text(now - until));
  if (from > now) return fmt::format("NOT VALID for another {}", duration_text(from - now));
  return duration_text(until - now) + " left";
}

std::string names_text(const CertificateDetails& details) {
  using Kind = AlternativeNameKind;
  std::vector<std::string> parts;
  for (const AlternativeName& name : details.subject_alt_names) {
    const std::string text = name.text.empty() ? "(no text)" : name.text;
    switch (name.kind) {
      case Kind::kDns:
      case Kind::kUri:
        parts.push_back(text);
        break;
      case Kind::kIp:
        parts.push_back(name.text.empty() ? "(malformed address)" : text);
        break;
      case Kind::kEmail:
        parts.push_back("email:" + text);
        break;
      case Kind::kDirectory:
        parts.push_back("directory:" + text);
        break;
      case Kind::kRegisteredId:
        parts.push_back("ID:" + text);
        break;
      default:
        parts.push_back(
            fmt::format("{}:{}", name.type.name.empty() ? "other" : name.type.name, text));
    }
  }
  return joined(parts);
}

int run_cert_show(const CertShowOptions& options) {
  const CertificateInput input = read_certificates(options.target);
  if (input.problem) {
    print_error(kCommand, input.problem->text);
    return input.problem->status;
  }
  if (options.json) return print_out(kCommand, certificates_as_json(input.certificates));
  std::string text;
  const std::size_t count = input.certificates.size();
  if (!input.host.empty()) {
    text =
        fmt::format("{} shows {} certificate{}{}{}; heddle cert check says whether they are good\n",
                    options.target.target, count, count == 1 ? "" : "s",
                    input.negotiated.empty() ? "" : " with ", input.negotiated);
  }
  const std::int64_t now = unix_now();
  for (std::size_t i = 0; i < count; ++i) {
    if (count > 1 || !input.host.empty()) text += fmt::format("certificate {}\n", i);
    text += described(input.certificates[i], now);
  }
  return print_out(kCommand, text);
}

}  // namespace heddle::cli
