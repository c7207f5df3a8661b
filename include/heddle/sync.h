// Synchronisation between the fibers of one runtime. Code that does not park needs none of it:
// fibers are not preempted.
//
// Fibers:   calls that take a Deadline park, first come, first served, and fail with kTimedOut or
//   kCancelled.
// Threads:  one runtime's thread. Use Runtime::post() to cross threads.
// Lifetime: no fiber may be waiting when one of these is destroyed.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "heddle/channel.h"  // Programs find everything that synchronises here.
#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/wait_queue.h"

namespace heddle {

// Semaphore counts units that fibers take and give back.
class HEDDLE_API Semaphore {
 public:
  explicit Semaphore(std::size_t units) : units_(units) {}

  // Takes one unit. Newcomers do not overtake waiting fibers.
  Result<void> acquire(Deadline deadline = Deadline::never());
  bool try_acquire() noexcept;
  void release();

  std::size_t available() const noexcept { return units_; }

 private:
  std::size_t units_;
  WaitQueue waiters_{"for a semaphore"};
};

// Mutex keeps other fibers out while its holder parks.
class HEDDLE_API Mutex {
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
  WaitQueue waiters_{"for a mutex"};
};

// Condition waits for a change to what a Mutex protects.
class HEDDLE_API Condition {
 public:
  // Unlocks, parks until notified, and locks again, whatever the outcome. May
  // return although nothing has changed: test in a loop.
  Result<void> wait(Mutex::Lock& lock, Deadline deadline = Deadline::never());
  void notify_one() { waiters_.wake_one(); }
  void notify_all() { waiters_.wake_all(); }

 private:
  WaitQueue waiters_{"for a condition"};
};

// WaitGroup waits until as many done() as add() have been called.
class HEDDLE_API WaitGroup {
 public:
  void add(std::size_t count = 1) noexcept { pending_ += count; }
  // Precondition: called at most as often as add() allows.
  void done();
  Result<void> wait(Deadline deadline = Deadline::never());

 private:
  std::size_t pending_ = 0;
  WaitQueue waiters_{"for a group"};
};

}  // namespace heddle
