// Synchronisation between the fibers of one runtime. None of it is needed for
// code that does not park between two lines: fibers are not preempted.
//
// Fibers:   whatever takes a Deadline parks, first come first served, and fails
//   with kTimedOut or kCancelled.
// Threads:  one runtime's thread. Use Runtime::post() to cross threads.
// Lifetime: no fiber may be waiting when one of these is destroyed.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/wait_queue.h"

namespace heddle {

// Semaphore counts units that fibers take and give back.
class Semaphore {
 public:
  explicit Semaphore(std::size_t units) : units_(units) {}

  // Takes one unit. Newcomers do not overtake fibers that wait.
  Result<void> acquire(Deadline deadline = Deadline::never());
  bool try_acquire() noexcept;
  void release();

  std::size_t available() const noexcept { return units_; }

 private:
  std::size_t units_;
  WaitQueue waiters_;
};

// Mutex keeps other fibers out while its holder parks.
class Mutex {
 public:
  // Lock is the right to be inside. Destruction unlocks.
  class [[nodiscard]] Lock {
   public:
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    Lock(Lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Lock& operator=(Lock&&) = delete;
    ~Lock() {
      if (mutex_ != nullptr) mutex_->unlock();
    }

   private:
    friend class Mutex;
    friend class Condition;
    explicit Lock(Mutex& mutex) : mutex_(&mutex) {}
    Mutex* mutex_;
  };

  // Precondition: the calling fiber does not hold the mutex.
  Result<Lock> lock(Deadline deadline = Deadline::never());
  std::optional<Lock> try_lock() noexcept;

  bool locked() const noexcept { return locked_; }

 private:
  friend class Condition;
  void unlock();
  void relock();

  bool locked_ = false;
  WaitQueue waiters_;
};

// Condition waits for a change to what a Mutex protects.
class Condition {
 public:
  // Unlocks, parks until notified, and locks again, whatever the outcome. May
  // return although nothing has changed: test in a loop.
  Result<void> wait(Mutex::Lock& lock, Deadline deadline = Deadline::never());
  void notify_one() { waiters_.wake_one(); }
  void notify_all() { waiters_.wake_all(); }

 private:
  WaitQueue waiters_;
};

// WaitGroup waits until as many done() as add() have been called.
class WaitGroup {
 public:
  void add(std::size_t count = 1) noexcept { pending_ += count; }
  // Precondition: called at most as often as add() allows.
  void done();
  Result<void> wait(Deadline deadline = Deadline::never());

 private:
  std::size_t pending_ = 0;
  WaitQueue waiters_;
};

// Channel hands values from fiber to fiber, in order, and holds at most
// `capacity` of them: a full one makes producers wait.
//
// Fibers:   push() and pop() park. try_push() and try_pop() do not, and may also be called outside
//   fibers, on the runtime's thread: by work that was posted to it.
// Threads:  another thread hands a value over with Runtime::post(), in which it calls try_push().
template <typename T>
class Channel {
 public:
  // Precondition: `capacity` > 0.
  explicit Channel(std::size_t capacity) : room_(capacity), filled_(0) {}

  // Fails with kTimedOut, kCancelled, or kDisconnected if the channel is closed. `value` is moved
  // from only on success.
  Result<void> push(T&& value, Deadline deadline = Deadline::never()) {
    if (const Result<void> got = room_.acquire(deadline); !got) return got.error();
    return put(std::move(value));
  }
  Result<void> push(const T& value, Deadline deadline = Deadline::never()) {
    return push(T(value), deadline);
  }

  // The same without waiting: fails with kExhausted if the channel is full.
  Result<void> try_push(T&& value) {
    if (closed_) return closed_error();
    if (!room_.try_acquire()) {
      return Error{.code = Errc::kExhausted, .operation = "push to a channel that is full"};
    }
    return put(std::move(value));
  }
  Result<void> try_push(const T& value) { return try_push(T(value)); }

  // Takes the oldest value. Returns nothing once the channel is closed and empty.
  Result<std::optional<T>> pop(Deadline deadline = Deadline::never()) {
    if (const Result<void> got = filled_.acquire(deadline); !got) return got.error();
    return take();
  }

  // The same without waiting: returns nothing, too, if there is no value that is not promised to a
  // fiber in pop().
  std::optional<T> try_pop() {
    if (!filled_.try_acquire()) return std::nullopt;
    return take();
  }

  // Ends the channel: values in it may still be taken, none may be added.
  void close() {
    if (std::exchange(closed_, true)) return;
    room_.release();
    filled_.release();
  }

  bool closed() const noexcept { return closed_; }
  std::size_t size() const noexcept { return values_.size(); }

 private:
  // Precondition: one unit of `room_` has been acquired.
  Result<void> put(T&& value) {
    if (closed_) {
      room_.release();  // The next producer that waits shall see it too.
      return closed_error();
    }
    values_.push_back(std::move(value));
    filled_.release();
    return {};
  }

  // Precondition: one unit of `filled_` has been acquired.
  std::optional<T> take() {
    if (values_.empty()) {
      filled_.release();  // Closed: the next consumer that waits shall see it too.
      return std::nullopt;
    }
    std::optional<T> value(std::move(values_.front()));
    values_.pop_front();
    room_.release();
    return value;
  }

  static Error closed_error() {
    return Error{.code = Errc::kDisconnected, .operation = "push to a closed channel"};
  }

  std::deque<T> values_;
  Semaphore room_;
  Semaphore filled_;
  bool closed_ = false;
};

}  // namespace heddle
