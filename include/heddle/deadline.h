// Deadline: the absolute moment at which an operation gives up.
#pragma once

#include <chrono>
#include <compare>

namespace heddle {

// Only the type comes from steady_clock (CLOCK_MONOTONIC). The present moment
// comes from Runtime::now() or this_fiber::now(), so that tests can run on
// virtual time.
using TimePoint = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

// Deadlines are absolute, so one Deadline bounds a whole request however many
// calls it takes: pass it down unchanged. A deadline that has passed still lets
// an operation succeed that need not wait.
class Deadline {
 public:
  static constexpr Deadline never() { return Deadline(TimePoint::max()); }
  static constexpr Deadline at(TimePoint when) { return Deadline(when); }

  constexpr TimePoint time() const { return when_; }
  constexpr bool is_never() const { return when_ == TimePoint::max(); }
  constexpr auto operator<=>(const Deadline&) const = default;

 private:
  explicit constexpr Deadline(TimePoint when) : when_(when) {}

  TimePoint when_;
};

}  // namespace heddle
