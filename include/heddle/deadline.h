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

// Converts to Duration; a value that does not fit becomes Duration::max() or min().
template <typename Rep, typename Period>
constexpr Duration saturated(std::chrono::duration<Rep, Period> delay) {
  using Inexact = std::chrono::duration<double, Duration::period>;
  if (Inexact(delay) >= Inexact(Duration::max())) return Duration::max();
  if (Inexact(delay) <= Inexact(Duration::min())) return Duration::min();
  return std::chrono::duration_cast<Duration>(delay);
}

// Deadlines are absolute, so one Deadline bounds a whole request however many calls it takes: pass
// it down unchanged. An operation that need not wait still succeeds after its deadline has passed.
class Deadline {
 public:
  static constexpr Deadline never() { return Deadline(TimePoint::max()); }
  static constexpr Deadline at(TimePoint when) { return Deadline(when); }

  // Returns `delay` after `from`; never(), or the first moment of the clock, if that is beyond its
  // ends.
  static constexpr Deadline after(TimePoint from, Duration delay) {
    const Duration since = from.time_since_epoch();
    if (delay > Duration::zero() && since > Duration::max() - delay) return never();
    if (delay < Duration::zero() && since < Duration::min() - delay) return at(TimePoint::min());
    return at(from + delay);
  }

  constexpr TimePoint time() const { return when_; }
  constexpr bool is_never() const { return when_ == TimePoint::max(); }
  constexpr auto operator<=>(const Deadline&) const = default;

 private:
  explicit constexpr Deadline(TimePoint when) : when_(when) {}

  TimePoint when_;
};

}  // namespace heddle
