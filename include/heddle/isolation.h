// Isolation: what a runtime does about OpenSSL's one error queue per thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace heddle {

// OpenSSL keeps one error queue per OS thread, and SSL_get_error() believes its
// oldest entry before it looks at the connection (SSL_get_error(3)). So an entry
// that one fiber leaves behind can make OpenSSL call another fiber's healthy
// connection dead.
//
// kShared and kClear exist to show that, in the regression harness and in
// benchmarks. Programs want kIsolated.
enum class Isolation : std::uint8_t {
  kShared,    // The bug: nothing is done.
  kClear,     // Clears the queue before each TLS call, as proposed for CPython #148594.
  kIsolated,  // Each fiber has its own queue, and each TLS call starts with an empty one.
};

inline constexpr std::array kIsolations{Isolation::kShared, Isolation::kClear,
                                        Isolation::kIsolated};

// Its name in command lines and reports: "shared", "clear", "isolated".
constexpr std::string_view name_of(Isolation isolation) noexcept {
  switch (isolation) {
    case Isolation::kShared:
      return "shared";
    case Isolation::kClear:
      return "clear";
    case Isolation::kIsolated:
      break;
  }
  return "isolated";
}

// Returns the policy of that name, if there is one.
constexpr std::optional<Isolation> isolation_of(std::string_view name) noexcept {
  for (const Isolation isolation : kIsolations) {
    if (name_of(isolation) == name) return isolation;
  }
  return std::nullopt;
}

}  // namespace heddle
