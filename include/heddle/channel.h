// Channel: a queue between fibers that makes the faster side wait. select() waits for the first of
// several channels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <span>
#include <utility>

#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/export.h"
#include "heddle/result.h"

namespace heddle {

namespace detail {

struct ChannelWait;
class ChannelQueue;

// One side of one channel, while a fiber waits for it.
struct ChannelWaiter {
  ChannelWait* wait = nullptr;
  ChannelQueue* queue = nullptr;  // In which it stands.
  void* slot = nullptr;           // A producer's T, a consumer's std::optional<T>.
  ChannelWaiter* previous = nullptr;
  ChannelWaiter* next = nullptr;
};

// The fibers that wait for one side of a channel, in the order in which they came.
class HEDDLE_API ChannelQueue {
 public:
  ChannelWaiter* first() const noexcept { return head_; }
  void append(ChannelWaiter& waiter) noexcept;
  void remove(ChannelWaiter& waiter) noexcept;

 private:
  ChannelWaiter* head_ = nullptr;
  ChannelWaiter* tail_ = nullptr;
};

// ChannelCore is the part of a channel that does not depend on the type of its values.
class HEDDLE_API ChannelCore {
 public:
  enum class Side : bool { kPush, kPop };
  enum class Outcome : std::uint8_t { kDone, kClosed, kBlocked };

  // A side of a channel, and where the value comes from or goes to.
  struct Case {
    ChannelCore* channel;
    Side side;
    void* slot;
  };

  ChannelCore(const ChannelCore&) = delete;
  ChannelCore& operator=(const ChannelCore&) = delete;

  // Does the first of `cases` that can be done; parks until one can. Returns its index.
  static Result<std::size_t> select(std::span<const Case> cases, Deadline deadline);

 protected:
  ChannelCore() = default;
  ~ChannelCore();

  // push() or pop().
  Result<void> perform(Side side, void* slot, Deadline deadline);

  void close();

  // Moves a value at once, if that is possible. kClosed: it never will be again.
  virtual Outcome attempt(Side side, void* slot) = 0;

  // Tells a waiting fiber that its value has been moved.
  static void complete(ChannelWaiter& waiter) { complete(waiter, Outcome::kDone); }

  static Error closed_error();
  static Error full_error();

  ChannelQueue producers_;
  ChannelQueue consumers_;
  bool closed_ = false;

 private:
  ChannelQueue& queue(Side side) noexcept { return side == Side::kPush ? producers_ : consumers_; }
  static void complete(ChannelWaiter& waiter, Outcome outcome);
  static Result<std::size_t> wait(std::span<const Case> cases, std::span<ChannelWaiter> waiters,
                                  Deadline deadline, const char* operation);
};

}  // namespace detail

// SelectCase is one of the things that select() waits for. Channel makes it.
class SelectCase {
 private:
  template <typename T>
  friend class Channel;
  friend Result<std::size_t> select(std::span<const SelectCase> cases, Deadline deadline);
  explicit SelectCase(detail::ChannelCore::Case one) : case_(one) {}

  detail::ChannelCore::Case case_;
};

// Channel passes values from fiber to fiber, in order, and holds at most `capacity` of them;
// producers wait while it is full. A channel of capacity 0 holds none: push() returns when a
// consumer has taken the value, as with Go's unbuffered channels. Of several consumers, each gets
// its values in order.
//
// Fibers:   push() and pop() park, first come, first served. Outside a fiber they end the process
//   with a message, even where they would not have to wait. try_push() and try_pop() do not park.
//   Posted work may also call them, outside fibers on the runtime's thread.
// Threads:  one runtime's thread. Another thread hands a value over with Runtime::post(), in which
//   it calls try_push().
// Lifetime: no fiber may be waiting when it is destroyed.
// Errors:   after kTimedOut or kCancelled no value has been moved. Once a value has been handed to
//   a waiting fiber, that fiber's call succeeds, even if its deadline passes or it is cancelled
//   before it runs again. So no value is lost or delivered twice.
template <typename T>
class Channel final : detail::ChannelCore {
 public:
  explicit Channel(std::size_t capacity) : capacity_(capacity) {}

  // Fails with kTimedOut, kCancelled, or kDisconnected if the channel is closed. `value` is moved
  // from only on success.
  Result<void> push(T&& value, Deadline deadline = Deadline::never()) {
    return perform(Side::kPush, &value, deadline);
  }
  Result<void> push(const T& value, Deadline deadline = Deadline::never()) {
    return push(T(value), deadline);
  }

  // The same without waiting: fails with kExhausted if the channel is full, or, at capacity 0, if
  // no fiber waits in pop().
  Result<void> try_push(T&& value) {
    switch (attempt(Side::kPush, &value)) {
      case Outcome::kDone:
        return {};
      case Outcome::kClosed:
        return closed_error();
      default:
        return full_error();
    }
  }
  Result<void> try_push(const T& value) { return try_push(T(value)); }

  // Takes the oldest value. Returns nothing once the channel is closed and empty. Fails with
  // kTimedOut or kCancelled.
  Result<std::optional<T>> pop(Deadline deadline = Deadline::never()) {
    std::optional<T> value;
    if (const Result<void> done = perform(Side::kPop, &value, deadline); !done) return done.error();
    return value;
  }

  // The same without waiting: also returns nothing if there is no value.
  std::optional<T> try_pop() {
    std::optional<T> value;
    (void)attempt(Side::kPop, &value);
    return value;
  }

  // For select(): pushing() is a push() from `value`, popping() a pop() into `value`, which is
  // empty afterwards if the channel is closed and empty. `value` must live until select() has
  // returned.
  SelectCase pushing(T& value) { return SelectCase({this, Side::kPush, &value}); }
  SelectCase popping(std::optional<T>& value) { return SelectCase({this, Side::kPop, &value}); }

  // Ends the channel: values in it can still be taken, but none can be added. Waiting producers
  // fail with kDisconnected. May also be called outside fibers, on the runtime's thread.
  void close() { ChannelCore::close(); }

  bool closed() const noexcept { return closed_; }

  // How many values it holds, not counting those of waiting producers.
  std::size_t size() const noexcept { return values_.size(); }

 private:
  Outcome attempt(Side side, void* slot) override {
    if (side == Side::kPush) return attempt_push(*static_cast<T*>(slot));
    return attempt_pop(*static_cast<std::optional<T>*>(slot));
  }

  // The value is moved before the other side is told: moving may throw.
  Outcome attempt_push(T& value) {
    if (closed_) return Outcome::kClosed;
    if (detail::ChannelWaiter* const consumer = consumers_.first()) {
      static_cast<std::optional<T>*>(consumer->slot)->emplace(std::move(value));
      complete(*consumer);
      return Outcome::kDone;
    }
    if (values_.size() >= capacity_) return Outcome::kBlocked;
    values_.push_back(std::move(value));
    return Outcome::kDone;
  }

  Outcome attempt_pop(std::optional<T>& value) {
    value.reset();
    if (detail::ChannelWaiter* const producer = producers_.first()) {
      values_.push_back(std::move(*static_cast<T*>(producer->slot)));
      complete(*producer);
    }
    if (values_.empty()) return closed_ ? Outcome::kClosed : Outcome::kBlocked;
    value.emplace(std::move(values_.front()));
    values_.pop_front();
    return Outcome::kDone;
  }

  std::deque<T> values_;
  std::size_t capacity_;
};

// Waits until one of `cases` can be done, does that one and no other, and returns its index:
//
//   std::optional<Job> job;
//   std::optional<Signal> signal;
//   const auto which = select({signals.popping(signal), jobs.popping(job)}, deadline);
//
// If several can be done at once, the first of them in the list is done: order is priority. Fails
// with kTimedOut or kCancelled, and then nothing has been moved; with kDisconnected if the channel
// of a pushing() case is closed. Like push() and pop(), it waits its turn behind fibers that came
// earlier, and ends the process outside a fiber. Parks.
HEDDLE_API Result<std::size_t> select(std::span<const SelectCase> cases,
                                      Deadline deadline = Deadline::never());
inline Result<std::size_t> select(std::initializer_list<SelectCase> cases,
                                  Deadline deadline = Deadline::never()) {
  return select(std::span(cases.begin(), cases.size()), deadline);
}

}  // namespace heddle
