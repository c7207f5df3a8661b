// relay(): moves bytes between two connections, both ways, until both have ended.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

#include "heddle/byte_stream.h"
#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/fiber.h"
#include "heddle/result.h"

namespace heddle {

// RelayStream is what relay() takes: a ByteSource and ByteSink that can end what it sends, and go
// on reading. Socket::shutdown_write() needs no deadline, Stream's does.
template <typename T>
concept RelayStream = ByteSource<T> && ByteSink<T> && requires(T& stream, Deadline deadline) {
  requires requires {
    stream.shutdown_write();
  } || requires {
    stream.shutdown_write(deadline);
  };
};

namespace detail {

// The state that the two directions of one relay() share.
class RelayState {
 public:
  RelayState(Duration idle, Deadline deadline) : idle_(idle), deadline_(deadline) {}

  // Runs a direction in a fiber of its own. The first that fails ends both.
  template <typename From, typename To>
  void start(Scope& fibers, From& from, To& to) {
    const auto started =
        fibers.spawn("relay", [this, &fibers, &from, &to] { note(fibers, move_all(from, to)); });
    if (!started) note(fibers, started.error());
  }

  const Result<void>& outcome() const noexcept { return outcome_; }

 private:
  static constexpr std::size_t kPiece = std::size_t{16} * 1024;  // One TLS record.

  template <typename From, typename To>
  Result<void> move_all(From& from, To& to) {
    std::vector<std::byte> buffer(kPiece);
    for (;;) {
      const Result<std::size_t> count = read(from, buffer);
      if (!count) return count.error();
      if (*count == 0) return end(to);
      const Result<void> written =
          to.write(std::span<const std::byte>(buffer).first(*count), next_deadline());
      if (!written) return written;
      active_ = this_fiber::now();
    }
  }

  // A read that times out loses nothing, so it is repeated if the other direction was busy.
  template <typename From>
  Result<std::size_t> read(From& from, std::span<std::byte> into) {
    for (;;) {
      const TimePoint seen = active_;
      Result<std::size_t> count = from.read(into, soonest(seen));
      if (count) active_ = this_fiber::now();
      const bool again = !count && count.error().code == Errc::kTimedOut && active_ != seen;
      if (!again) return count;
    }
  }

  template <typename To>
  Result<void> end(To& to) {
    if constexpr (requires { to.shutdown_write(); }) {
      to.shutdown_write();
      return {};
    } else {
      return to.shutdown_write(next_deadline());
    }
  }

  Deadline soonest(TimePoint since) const {
    return std::min(Deadline::after(since, idle_), deadline_);
  }
  Deadline next_deadline() const { return soonest(this_fiber::now()); }

  void note(Scope& fibers, const Result<void>& done) {
    if (done) return;
    if (outcome_) outcome_ = done;
    fibers.cancel();
  }

  const Duration idle_;
  const Deadline deadline_;
  TimePoint active_ = this_fiber::now();
  Result<void> outcome_;
};

}  // namespace detail

// Moves what `one` sends to `other`, and the other way round, until both have ended: a proxy. When
// one of them ends, that end is passed on (shutdown_write()) and the other direction goes on. Close
// both afterwards.
//
// Fails with kTimedOut when neither direction has moved a byte for `idle`, when one write takes
// longer than that, or at `deadline`; with kCancelled; with kExhausted if there is no stack for its
// two fibers; and as read(), write() and shutdown_write() of the two do. The first failure ends
// both directions. Destroy both then, without close(), so that each peer sees that it was cut off:
// close() would tell it of an orderly end that did not come.
//
// Fibers:   parks. No other fiber may read from or write to the two meanwhile.
// Threads:  that of the two.
// Memory:   16 KiB and a stack for each direction.
template <RelayStream One, RelayStream Other>
Result<void> relay(One& one, Other& other, Duration idle, Deadline deadline = Deadline::never()) {
  detail::RelayState state(idle, deadline);
  scope([&](Scope& fibers) {
    state.start(fibers, one, other);
    state.start(fibers, other, one);
  });
  return state.outcome();
}

}  // namespace heddle
