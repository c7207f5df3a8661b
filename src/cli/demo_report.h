// What the demo prints at its end: a table or JSON, and one sentence.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "heddle/isolation.h"

namespace heddle::cli {

// What one policy's run has shown.
struct PolicyReport {
  Isolation policy = Isolation::kIsolated;
  std::size_t connections = 0;
  std::uint64_t requests = 0;  // Answered while peers misbehaved.
  double seconds = 0;
  std::vector<std::pair<std::string, std::uint64_t>> misdeeds;  // Name, how often.
  std::size_t spurious = 0;  // Healthy connections that were declared dead.
  std::vector<std::pair<std::string, std::size_t>> reasons;  // Most frequent first.
  double bytes_per_connection = 0;  // Of resident memory: both ends, with their fibers' stacks.

  std::uint64_t misdeeds_total() const;
  double requests_per_second() const { return static_cast<double>(requests) / seconds; }
};

enum class Colour : std::uint8_t { kNo, kYes };

struct Verdict {
  bool as_expected = false;  // `shared` failed healthy connections, `isolated` did not.
  std::string sentence;      // What was seen, and why; or what was not as expected.
};

Verdict judge(std::span<const PolicyReport> reports);

// Both end in a line break.
std::string as_table(std::span<const PolicyReport> reports, const Verdict& verdict, Colour colour);
std::string as_json(std::span<const PolicyReport> reports, const Verdict& verdict);

// 1234567 as "1,234,567".
std::string grouped(std::uint64_t number);

}  // namespace heddle::cli
