// Writes the demo's figures for people and for programs.
#include "cli/demo_report.h"

#include <cstddef>
#include <iterator>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace heddle::cli {
namespace {

using Json = nlohmann::ordered_json;  // Keeps the order in which members were added.

constexpr double kKibibyte = 1024;
constexpr std::size_t kReasonsShown = 3;

std::size_t spurious_under(std::span<const PolicyReport> reports, Isolation policy) {
  std::size_t count = 0;
  for (const PolicyReport& report : reports) {
    if (report.policy == policy) count += report.spurious;
  }
  return count;
}

std::string what_was_seen(std::span<const PolicyReport> reports) {
  std::string text;
  bool explained = false;
  for (const PolicyReport& report : reports) {
    if (!text.empty()) text += "; ";
    text += fmt::format("{}: ", name_of(report.policy));
    if (report.spurious == 0) {
      text += "none";
      continue;
    }
    text += fmt::format("{} of {} healthy connections were declared dead", grouped(report.spurious),
                        grouped(report.connections));
    if (explained) continue;
    explained = true;
    text +=
        " because of entries which other connections had left in the thread's OpenSSL error queue";
  }
  return text + ".";
}

template <typename Pairs>
Json counts(const Pairs& pairs) {
  Json object = Json::object();
  for (const auto& [name, count] : pairs) object[name] = count;
  return object;
}

Json as_object(const PolicyReport& report) {
  return Json{{"policy", name_of(report.policy)},
              {"healthy_connections", report.connections},
              {"requests_answered", report.requests},
              {"seconds", report.seconds},
              {"requests_per_second", report.requests_per_second()},
              {"misdeeds", report.misdeeds_total()},
              {"misdeeds_by_kind", counts(report.misdeeds)},
              {"spurious_errors", report.spurious},
              {"spurious_errors_by_reason", counts(report.reasons)},
              {"kib_per_connection", report.bytes_per_connection / kKibibyte}};
}

}  // namespace

std::uint64_t PolicyReport::misdeeds_total() const {
  std::uint64_t total = 0;
  for (const auto& [name, count] : misdeeds) total += count;
  return total;
}

std::string grouped(std::uint64_t number) {
  const std::string digits = fmt::format("{}", number);
  std::string text;
  for (std::size_t index = 0; index < digits.size(); ++index) {
    if (index != 0 && (digits.size() - index) % 3 == 0) text += ',';
    text += digits[index];
  }
  return text;
}

Verdict judge(std::span<const PolicyReport> reports) {
  const std::size_t isolated = spurious_under(reports, Isolation::kIsolated);
  const std::size_t shared = spurious_under(reports, Isolation::kShared);
  if (isolated != 0) {
    return {.as_expected = false,
            .sentence = fmt::format("Unexpected: isolated declared {} healthy connections dead, "
                                    "which it must never do.",
                                    grouped(isolated))};
  }
  if (shared == 0) {
    return {.as_expected = false,
            .sentence =
                "Unexpected: shared declared no healthy connection dead, so this run proves "
                "nothing about isolated; try a longer one (--seconds)."};
  }
  return {.as_expected = true, .sentence = what_was_seen(reports)};
}

std::string as_table(std::span<const PolicyReport> reports, const Verdict& verdict, Colour colour) {
  std::string text;
  const auto out = std::back_inserter(text);
  fmt::format_to(out, "{:<10}{:>13}{:>11}{:>10}{:>17}{:>12}{:>16}\n", "policy", "connections",
                 "requests", "misdeeds", "spurious errors", "requests/s", "KiB/connection");
  for (const PolicyReport& report : reports) {
    const std::string_view paint =
        colour == Colour::kNo ? "" : (report.spurious == 0 ? "\033[32m" : "\033[31m");
    fmt::format_to(out, "{:<10}{:>13}{:>11}{:>10}{}{:>17}{}{:>12}{:>16.1f}\n",
                   name_of(report.policy), grouped(report.connections), grouped(report.requests),
                   grouped(report.misdeeds_total()), paint, grouped(report.spurious),
                   paint.empty() ? "" : "\033[0m",
                   grouped(static_cast<std::uint64_t>(report.requests_per_second())),
                   report.bytes_per_connection / kKibibyte);
  }
  text +=
      "connections: healthy ones; misdeeds: what others did beside them; KiB/connection: growth "
      "of\n"
      "resident memory, both ends of a connection with the stacks of their two fibers\n\n";
  for (const PolicyReport& report : reports) {
    for (std::size_t index = 0; index < report.reasons.size() && index < kReasonsShown; ++index) {
      const auto& [reason, count] = report.reasons[index];
      fmt::format_to(out, "{}: {} times \"{}\"\n", name_of(report.policy), grouped(count), reason);
    }
  }
  return text + verdict.sentence + "\n";
}

std::string as_json(std::span<const PolicyReport> reports, const Verdict& verdict) {
  Json policies = Json::array();
  for (const PolicyReport& report : reports) policies.push_back(as_object(report));
  const Json figures{
      {"policies", policies}, {"as_expected", verdict.as_expected}, {"sentence", verdict.sentence}};
  // A reason may quote what a peer sent, in whatever encoding.
  return figures.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace heddle::cli
