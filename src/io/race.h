// Happy Eyeballs, version 2 (RFC 8305): connects to whichever address of either
// family answers first, without making the network do all the work twice.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "heddle/address.h"
#include "heddle/deadline.h"
#include "heddle/fiber.h"
#include "heddle/result.h"
#include "heddle/socket.h"
#include "heddle/wait_queue.h"

namespace heddle::io {

struct RaceRules {
  int first = AF_INET6;      // The family that goes first.
  bool other_family = true;  // Whether the other one takes part.
  Duration attempt_delay = std::chrono::milliseconds(250);
};

// Which families take part, and which is first. Fails with kInvalid if none is left.
Result<RaceRules> race_rules(const ConnectOptions& options);

// Race is independent of what it connects, so that a simulation can run it.
template <typename Connection>
class Race {
 public:
  using Resolve = std::function<Result<std::vector<Address>>(int family, Deadline)>;
  using Connect = std::function<Result<Connection>(const Address&, Deadline)>;

  static constexpr Duration kResolutionDelay = std::chrono::milliseconds(50);
  static constexpr std::size_t kAddressesMax = 64;  // Of each family.
  static constexpr const char* kConnect = "connect";

  Race(Resolve resolve, Connect connect, Deadline deadline, RaceRules rules = {})
      : resolve_(std::move(resolve)),
        connect_(std::move(connect)),
        deadline_(deadline),
        rules_(rules) {}

  // Parks until one attempt has succeeded, all have failed, or the deadline.
  Result<Connection> run() {
    return scope([this](Scope& fibers) -> Result<Connection> {
      Result<void> going = start_resolving(fibers);
      while (going && !won_) going = advance(fibers);
      fibers.cancel();
      if (won_) return *std::move(won_);
      return going.error();
    });
  }

 private:
  Result<void> start_resolving(Scope& fibers) {
    for (const int family : {AF_INET6, AF_INET}) {
      if (family != rules_.first && !rules_.other_family) continue;
      const auto task = fibers.spawn("resolve", [this, family] { resolve(family); });
      if (!task) return task.error();
      ++resolving_;
    }
    return {};
  }

  void resolve(int family) {
    auto found = resolve_(family, deadline_);
    --resolving_;
    if (found) {
      auto& queue = family == rules_.first ? first_ : other_;
      const auto count = std::min<std::size_t>(found->size(), kAddressesMax);
      queue.assign(found->begin(), found->begin() + static_cast<std::ptrdiff_t>(count));
    } else if (!last_error_ || last_error_->code == Errc::kInvalid) {
      // One family has no address as a rule. That the other could not be asked for says more.
      last_error_ = found.error();
    }
    if (family == rules_.first) first_resolved_ = true;
    changed_.wake_all();
  }

  // Starts the next attempt if it is time for one, else waits for news.
  Result<void> advance(Scope& fibers) {
    const bool addresses_left = !first_.empty() || !other_.empty();
    if (!addresses_left && resolving_ == 0 && attempts_ == 0) {
      return last_error_.value_or(Error{
          .code = Errc::kInvalid, .operation = kConnect, .detail = "the name has no address"});
    }
    Deadline next = Deadline::never();
    if (addresses_left) {
      if (!first_resolved_ && !started_) next = resolution_deadline();
      if (attempts_ > 0) next = next_attempt_;
      if (next.is_never() || next.time() <= this_fiber::now()) return start_attempt(fibers);
    }
    const Wake wake = changed_.wait(std::min(next, deadline_));
    if (wake == Wake::kCancelled) return interrupted(Errc::kCancelled);
    if (wake == Wake::kTimedOut && deadline_ <= next) return interrupted(Errc::kTimedOut);
    return {};
  }

  // The first family's addresses have to come soon after the others (section 3).
  Deadline resolution_deadline() {
    if (!waited_since_) waited_since_ = this_fiber::now();
    return Deadline::at(*waited_since_ + kResolutionDelay);
  }

  Result<void> start_attempt(Scope& fibers) {
    const bool first = other_.empty() || (first_next_ && !first_.empty());
    auto& queue = first ? first_ : other_;
    const Address address = queue.front();
    queue.pop_front();
    first_next_ = !first;  // The families take turns (section 4).
    started_ = true;
    next_attempt_ = this_fiber::after(rules_.attempt_delay);
    const auto task = fibers.spawn("connect", [this, address] { attempt(address); });
    if (!task) return task.error();
    ++attempts_;
    return {};
  }

  void attempt(const Address& address) {
    auto connected = connect_(address, deadline_);
    --attempts_;
    if (!connected) {
      last_error_ = connected.error();
      next_attempt_ = Deadline::at(this_fiber::now());  // No use in waiting longer.
    } else if (!won_) {
      won_ = *std::move(connected);
    }
    changed_.wake_all();
  }

  static Error interrupted(Errc code) { return {.code = code, .operation = kConnect}; }

  Resolve resolve_;
  Connect connect_;
  Deadline deadline_;
  RaceRules rules_;

  int resolving_ = 0;
  bool first_resolved_ = false;  // The first family.
  std::optional<TimePoint> waited_since_;
  std::deque<Address> first_;
  std::deque<Address> other_;

  int attempts_ = 0;
  bool started_ = false;
  bool first_next_ = true;
  Deadline next_attempt_ = Deadline::never();
  std::optional<Connection> won_;
  std::optional<Error> last_error_;
  WaitQueue changed_{"for an address to answer"};
};

}  // namespace heddle::io
