// WaitQueue: fibers parked until another fiber wakes them. What sync.h is made of.
#pragma once

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/transport.h"

namespace heddle {

namespace fiber {
class Fiber;
}

// Whether a cancelled fiber stops waiting. kNo is for restoring an invariant, such as locking a
// mutex again; the caller must know that the wait will end.
enum class Cancellable : bool { kNo, kYes };

// WaitQueue parks fibers in the order in which they came.
//
// Fibers:   wait() parks. The rest may be called from any fiber of the runtime,
//   and from outside fibers on its thread.
// Threads:  one runtime's thread. Use Runtime::post() to cross threads.
// Lifetime: no fiber may be waiting when the queue is destroyed.
class HEDDLE_API WaitQueue {
 public:
  // `purpose` is what its fibers wait for, as in "for a mutex" or "to be told": for dumps
  // (FiberInfo). It must outlive the queue.
  explicit WaitQueue(const char* purpose = "for another fiber") noexcept : purpose_(purpose) {}
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;
  ~WaitQueue();

  // Parks the running fiber. Returns kReady exactly if a wake call chose this
  // fiber, even when its deadline has passed or it was cancelled meanwhile: a
  // wake-up is never lost.
  Wake wait(Deadline deadline, Cancellable cancellable = Cancellable::kYes);

  // Wakes the fiber that has waited longest. Returns false if there was none.
  bool wake_one();
  void wake_all();

  bool empty() const noexcept { return head_ == nullptr; }

 private:
  struct Waiter {
    fiber::Fiber* fiber;
    Waiter* previous = nullptr;
    Waiter* next = nullptr;
    bool woken = false;
  };

  void remove(Waiter& waiter) noexcept;

  const char* const purpose_;
  Waiter* head_ = nullptr;
  Waiter* tail_ = nullptr;
};

}  // namespace heddle
