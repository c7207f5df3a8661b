// heddle cert check: what is wrong with a chain, its key and its names, in plain words.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <utility>

#include <fmt/core.h>

#include "cli/cert.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kCommand = "cert check";
constexpr std::int64_t kDay = 86400;

// X509_V_ERR_*, as openssl-verification-options(1) numbers them.
enum VerifyCode : int {
  kNoIssuer = 2,
  kBadSignature = 7,
  kNotYetValid = 9,
  kExpired = 10,
  kSelfSigned = 18,
  kSelfSignedInChain = 19,
  kNoIssuerLocally = 20,
  kNoLeafSignature = 21,
  kPathTooLong = 25,
  kWrongPurpose = 26,
  kMayNotSign = 32,
  kHostNameMismatch = 62,
  kIpAddressMismatch = 64,
  kLeafKeyTooSmall = 66,
  kAuthorityKeyTooSmall = 67,
  kDigestTooWeak = 68,
  // What only X509_V_FLAG_X509_STRICT objects to, but for kInvalidCa in between.
  kStrictFirst = 78,
  kInvalidCa = 79,
  kNoAuthorityKeyId = 85,
  kNoUsageOfAuthority = 92,
  kStrictLast = 94,
};

// The chain in the order in which it should be: certificates with their details.
struct Subject {
  Certificate summary;
  CertificateDetails details;
  std::size_t place = 0;  // Where it stands in what was read.
};

struct Checked {
  std::vector<Subject> chain;  // From the leaf on, as far as the issuers are there.
  std::vector<std::string> problems;
  std::vector<std::string> remarks;  // Harmless.
  std::string pem;                   // Of `chain`, and then of what does not belong to it.
};

std::string called(const Subject& subject) {
  return fmt::format(
      "certificate {} ({})", subject.place,
      subject.summary.subject.empty() ? "without a subject" : subject.summary.subject);
}

std::string pem_of(const std::vector<Certificate>& all) {
  std::string pem;
  for (const Certificate& each : all) pem += certificate_pem(each.der);
  return pem;
}

// --- Order ---------------------------------------------------------------------------------------

// The one that has issued none of the others; the first if there are several.
std::size_t leaf_of(const std::vector<int>& issuers) {
  for (std::size_t i = 0; i < issuers.size(); ++i) {
    bool issued_another = false;
    for (std::size_t other = 0; other < issuers.size(); ++other) {
      if (other != i && issuers[other] == static_cast<int>(i)) issued_another = true;
    }
    if (!issued_another) return i;
  }
  return 0;
}

std::vector<std::size_t> path_from(std::size_t leaf, const std::vector<int>& issuers) {
  std::vector<std::size_t> path = {leaf};
  while (issuers[path.back()] >= 0) {
    const auto next = static_cast<std::size_t>(issuers[path.back()]);
    if (std::ranges::find(path, next) != path.end()) break;
    path.push_back(next);
  }
  return path;
}

// Puts the chain in order, and says what was not.
void judge_order(Checked& checked, const std::vector<Certificate>& all,
                 const std::vector<int>& issuers) {
  const std::vector<std::size_t> path = path_from(leaf_of(issuers), issuers);
  for (const std::size_t place : path) {
    Result<CertificateDetails> details = certificate_details(all[place].der);
    if (!details) continue;  // It was read before: cannot be.
    checked.chain.push_back(
        {.summary = all[place], .details = *std::move(details), .place = place});
  }
  std::vector<std::size_t> in_file = path;
  std::ranges::sort(in_file);
  if (in_file != path) {
    std::string order;
    for (const std::size_t place : path)
      order += fmt::format("{}{}", order.empty() ? "" : ", ", place);
    checked.problems.push_back(fmt::format(
        "the order is wrong: each certificate must be followed by its issuer, so write them in the "
        "order {}",
        order));
  }
  std::vector<Certificate> ordered;
  ordered.reserve(all.size());
  for (const std::size_t place : path) ordered.push_back(all[place]);
  for (std::size_t place = 0; place < all.size(); ++place) {
    if (std::ranges::find(path, place) != path.end()) continue;
    ordered.push_back(all[place]);
    checked.problems.push_back(
        fmt::format("certificate {} ({}) does not belong to the chain: it has issued none of the "
                    "others that do",
                    place, all[place].subject));
  }
  const auto last = path.back();
  if (path.size() > 2 && issuers[last] == static_cast<int>(last)) {
    checked.remarks.push_back(fmt::format(
        "certificate {} is the root, which peers have already or do not trust: a server need not "
        "send it",
        last));
  }
  checked.pem = pem_of(ordered);
}

// --- Faults --------------------------------------------------------------------------------------

std::string missing_issuer(const Subject& subject) {
  std::string text =
      fmt::format("the issuer of {}, {}, is neither there nor trusted: ", called(subject),
                  subject.summary.issuer.empty() ? "without a name" : subject.summary.issuer);
  text += "append the intermediate certificate";
  if (!subject.details.ca_issuer_urls.empty()) {
    const std::string& url = subject.details.ca_issuer_urls.front();
    const bool plain = std::ranges::all_of(url, [](char c) { return c > ' ' && c < '\x7f'; });
    if (plain) text += ", which is at " + url;
  }
  return text + ", or trust its root with --cafile";
}

std::string strict_text(const Subject& subject, const ChainFault& fault) {
  if (fault.verify_code == kNoAuthorityKeyId) {
    return called(subject) +
           " has no authority key identifier: clients that verify strictly, as RFC 5280 wants, "
           "refuse it";
  }
  if (fault.verify_code == kNoUsageOfAuthority) {
    return called(subject) +
           " is an authority's without a key usage: clients that verify strictly, as RFC 5280 "
           "wants, refuse it";
  }
  return fmt::format("{} breaks RFC 5280, so clients that verify strictly refuse it: {}",
                     called(subject), fault.text);
}

std::string weak_text(const Subject& subject, int code) {
  if (code == kDigestTooWeak) {
    return fmt::format("{} is signed with {}, which is too weak", called(subject),
                       subject.details.signature_algorithm.name);
  }
  return fmt::format("the key of {} is too weak: {}", called(subject), subject.summary.key);
}

std::string fault_text(const Subject& subject, const ChainFault& fault, bool is_client) {
  const int code = fault.verify_code;
  switch (code) {
    case kBadSignature:
      return "the signature of " + called(subject) +
             " is wrong: it was changed, or another issuer of that name has signed it";
    case kSelfSigned:
      return called(subject) + " is self-signed and not trusted here; --cafile trusts it";
    case kSelfSignedInChain:
      return "the root " + called(subject) + " is not trusted here; --cafile trusts it";
    case kNoIssuer:
    case kNoIssuerLocally:
      return missing_issuer(subject);
    case kPathTooLong:
      return called(subject) + " allows fewer certificates below it than there are";
    case kWrongPurpose:
      return fmt::format("{} may not be used by a {}: its extended key usage says so",
                         called(subject), is_client ? "client" : "server");
    case kMayNotSign:
      return called(subject) + " may not sign certificates: its key usage says so";
    case kInvalidCa:
      return called(subject) + " is no authority's, and must not issue others";
    case kLeafKeyTooSmall:
    case kAuthorityKeyTooSmall:
    case kDigestTooWeak:
      return weak_text(subject, code);
    default:
      break;
  }
  if (code >= kStrictFirst && code <= kStrictLast) return strict_text(subject, fault);
  return called(subject) + ": " + fault.text;
}

bool is_about_name(int code) {
  return code == kHostNameMismatch || code == kIpAddressMismatch;
}

// Times are judged for each certificate, and a leaf's unknown issuer is told once.
bool is_told_elsewhere(const std::vector<ChainFault>& faults, const ChainFault& fault) {
  const int code = fault.verify_code;
  if (code == kExpired || code == kNotYetValid || is_about_name(code)) return true;
  if (code != kNoLeafSignature) return false;
  return std::ranges::any_of(faults, [](const ChainFault& each) {
    return each.verify_code == kNoIssuerLocally || each.verify_code == kNoIssuer ||
           each.verify_code == kSelfSigned;
  });
}

void judge_faults(Checked& checked, const std::vector<ChainFault>& faults, bool is_client) {
  for (const ChainFault& fault : faults) {
    if (is_told_elsewhere(faults, fault)) continue;
    const auto depth = static_cast<std::size_t>(std::max(fault.depth, 0));
    if (depth < checked.chain.size()) {
      checked.problems.push_back(fault_text(checked.chain[depth], fault, is_client));
    } else {
      checked.problems.push_back(
          fmt::format("a trusted certificate, {} above the first: {}", depth, fault.text));
    }
  }
}

void judge_name(Checked& checked, const std::vector<ChainFault>& faults, const std::string& name) {
  if (!std::ranges::any_of(faults,
                           [](const auto& each) { return is_about_name(each.verify_code); })) {
    return;
  }
  const std::string names = names_text(checked.chain.front().details);
  checked.problems.push_back(
      fmt::format("{} is not for {}: it is for {}", called(checked.chain.front()), name,
                  names.empty() ? "nobody, since it has no alternative names" : names));
}

// --- Times ---------------------------------------------------------------------------------------

void judge_time(Checked& checked, const Subject& subject, std::optional<std::int64_t> days,
                std::int64_t now) {
  const CertificateDetails& details = subject.details;
  if (!details.not_before || !details.not_after) {
    checked.problems.push_back(called(subject) + " has a malformed time");
    return;
  }
  const std::int64_t from = details.not_before->time_since_epoch().count();
  const std::int64_t until = details.not_after->time_since_epoch().count();
  // Some live for a week: two weeks of warning would be without end.
  const std::int64_t wanted =
      days ? *days * kDay : std::min<std::int64_t>(14 * kDay, (until - from) / 3);
  if (until < now) {
    checked.problems.push_back(fmt::format("{} expired {} ago, at {}: have it renewed",
                                           called(subject), duration_text(now - until),
                                           subject.summary.not_after));
  } else if (from > now) {
    checked.problems.push_back(fmt::format("{} is not valid before {}, in {}: check the clock",
                                           called(subject), subject.summary.not_before,
                                           duration_text(from - now)));
  } else if (until - now < wanted) {
    checked.problems.push_back(fmt::format("{} expires in {}, at {}: renew it", called(subject),
                                           duration_text(until - now), subject.summary.not_after));
  }
}

// --- The key -------------------------------------------------------------------------------------

// Without the end of the line that editors put there.
std::string password_in(std::string text) {
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

InputProblem unreadable_key(const CertCheckOptions& options, const std::string& pem,
                            const Error& error) {
  InputProblem problem{.text =
                           fmt::format("cannot read the key {}: {}", options.key, error.message())};
  if (pem.find("PRIVATE KEY-----") == std::string::npos) {
    problem.text = options.key + " holds no private key";
  } else if (pem.find("ENCRYPTED") != std::string::npos) {
    problem.text = options.password_file.empty()
                       ? fmt::format(
                             "the key {} is encrypted: give its password in a file with "
                             "--password-file",
                             options.key)
                       : fmt::format("the password in {} does not open the key {}",
                                     options.password_file, options.key);
  }
  return problem;
}

// Nothing if it could be judged.
std::optional<InputProblem> judge_key(Checked& checked, const CertCheckOptions& options) {
  std::optional<InputProblem> problem;
  const std::optional<std::string> pem = read_text(options.key, problem);
  if (!pem) return problem;
  std::string password;
  if (!options.password_file.empty()) {
    std::optional<std::string> text = read_text(options.password_file, problem);
    if (!text) return problem;
    password = password_in(*std::move(text));
  }
  const Result<KeyDescription> key = describe_private_key(*pem, password);
  if (!key) return unreadable_key(options, *pem, key.error());
  const auto fits = [&](const Subject& subject) {
    return Credentials::parse(certificate_pem(subject.summary.der), *pem, password).has_value();
  };
  if (fits(checked.chain.front())) return std::nullopt;
  const auto other = std::ranges::find_if(checked.chain, fits);
  std::string text = fmt::format("the key {} ({} {} bits) does not belong to {}", options.key,
                                 key->type, key->bits, called(checked.chain.front()));
  text += other != checked.chain.end()
              ? ", but to " + called(*other)
              : fmt::format(", whose key is {}", checked.chain.front().summary.key);
  checked.problems.push_back(text);
  return std::nullopt;
}

// --- All of it -----------------------------------------------------------------------------------

int refuse(const InputProblem& problem) {
  print_error(kCommand, problem.text);
  return problem.status;
}

int refuse(const std::string& what, const Error& error) {
  return refuse({.text = what + ": " + error.message(), .status = kExitUsage});
}

int report(const Checked& checked, const CertCheckOptions& options) {
  const std::string& target = options.target.target;
  const std::size_t count = checked.problems.size();
  const CertificateDetails& leaf = checked.chain.front().details;
  std::string text;
  if (count == 0) {
    const std::string names = names_text(leaf);
    text = fmt::format("{}: all is well\n  for    {}\n  valid  {}\n  chain  {} certificate{}\n",
                       target, names.empty() ? "nobody in particular" : names,
                       time_left(leaf, unix_now()), checked.chain.size(),
                       checked.chain.size() == 1 ? "" : "s");
    if (!options.key.empty()) text += fmt::format("  key    {} belongs to it\n", options.key);
  } else {
    text = fmt::format("{}: {} problem{}\n", target, count, count == 1 ? "" : "s");
    for (const std::string& problem : checked.problems) text += fmt::format("  - {}\n", problem);
  }
  for (const std::string& remark : checked.remarks) text += fmt::format("  note: {}\n", remark);
  const int printed = print_out(kCommand, text);
  return printed != kExitOk ? printed : count == 0 ? kExitOk : kExitFailure;
}

// Verifies for each name. Returns an exit status.
int judge_chain(Checked& checked, const CertCheckOptions& options, ChainCheckOptions wanted,
                const std::vector<std::string>& names) {
  const Result<ChainReport> plain = check_chain(checked.pem, wanted);
  if (!plain) return refuse(options.target.target, plain.error());
  judge_faults(checked, plain->faults, options.client);
  for (const std::string& name : names) {
    wanted.host = name;
    const Result<ChainReport> named = check_chain(checked.pem, wanted);
    if (!named) return refuse("--name " + name, named.error());
    judge_name(checked, named->faults, name);
  }
  return kExitOk;
}

std::optional<std::int64_t> parse_days(const std::string& text) {
  constexpr std::int64_t kMost = 100000;
  std::int64_t days = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), days);
  if (failed != std::errc() || end != text.data() + text.size() || days < 0 || days > kMost) {
    return std::nullopt;
  }
  return days;
}

}  // namespace

int run_cert_check(const CertCheckOptions& options) {
  const std::optional<std::int64_t> days = parse_days(options.days);
  if (!options.days.empty() && !days) {
    return refuse({.text = "--days: give a number of days from 0 to 100000"});
  }
  const CertificateInput input = read_certificates(options.target);
  if (input.problem) return refuse(*input.problem);
  ChainCheckOptions wanted;
  wanted.purpose = options.client ? CertificatePurpose::kClient : CertificatePurpose::kServer;
  if (!options.ca_file.empty()) {
    std::optional<InputProblem> problem;
    const std::optional<std::string> text = read_text(options.ca_file, problem);
    if (!text) return refuse(*problem);
    const CertificateInput roots = parse_content(options.ca_file, *text);
    if (roots.problem) return refuse(*roots.problem);
    wanted.roots_pem = pem_of(roots.certificates);
  }
  const Result<ChainReport> first = check_chain(pem_of(input.certificates), wanted);
  if (!first) return refuse(options.target.target, first.error());
  Checked checked;
  judge_order(checked, input.certificates, first->issuers);
  std::vector<std::string> names = options.names;
  if (names.empty() && !input.host.empty()) names.push_back(input.host);
  if (const int status = judge_chain(checked, options, wanted, names); status != kExitOk) {
    return status;
  }
  const std::int64_t now = unix_now();
  for (const Subject& subject : checked.chain) judge_time(checked, subject, days, now);
  if (!options.key.empty()) {
    if (const auto problem = judge_key(checked, options)) return refuse(*problem);
  }
  return report(checked, options);
}

}  // namespace heddle::cli
