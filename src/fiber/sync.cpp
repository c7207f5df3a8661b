// Wait queues and what is built from them.
#include "heddle/sync.h"

#include "base/assert.h"
#include "base/die.h"
#include "base/interruption.h"
#include "fiber/breathe.h"
#include "fiber/scheduler.h"

namespace heddle {
namespace {

Result<void> result_of(Wake wake, const char* operation) {
  if (wake == Wake::kReady) return {};
  return interruption(wake, operation);
}

}  // namespace

WaitQueue::~WaitQueue() {
  if (empty()) return;
  die("what fiber '%s' waits for (%s) is destroyed: wake or join it first",
      head_->fiber->name.c_str(), purpose_);
}

Wake WaitQueue::wait(Deadline deadline, Cancellable cancellable) {
  fiber::Scheduler& scheduler = fiber::Scheduler::to_wait(purpose_);
  Waiter self{.fiber = &scheduler.running_fiber(), .previous = tail_};
  (tail_ != nullptr ? tail_->next : head_) = &self;
  tail_ = &self;
  const Wake wake = scheduler.park(deadline, {purpose_}, cancellable);
  if (self.woken) return Wake::kReady;
  remove(self);
  return wake;
}

bool WaitQueue::wake_one() {
  if (head_ == nullptr) return false;
  Waiter& chosen = *head_;
  remove(chosen);
  chosen.woken = true;
  fiber::Scheduler::current().wake(*chosen.fiber);
  return true;
}

void WaitQueue::wake_all() {
  while (wake_one()) {
  }
}

void WaitQueue::remove(Waiter& waiter) noexcept {
  (waiter.previous != nullptr ? waiter.previous->next : head_) = waiter.next;
  (waiter.next != nullptr ? waiter.next->previous : tail_) = waiter.previous;
}

Result<void> Semaphore::acquire(Deadline deadline) {
  constexpr const char* kOperation = "wait for a semaphore";
  if (const Wake wake = fiber::breathe(); wake != Wake::kReady) return result_of(wake, kOperation);
  if (try_acquire()) return {};
  return result_of(waiters_.wait(deadline), kOperation);
}

bool Semaphore::try_acquire() noexcept {
  if (units_ == 0) return false;
  --units_;
  return true;
}

// A unit goes straight to who has waited longest, so that nobody can overtake.
void Semaphore::release() {
  if (!waiters_.wake_one()) ++units_;
}

Result<Mutex::Lock> Mutex::lock(Deadline deadline) {
  constexpr const char* kOperation = "lock a mutex";
  if (const Wake wake = fiber::breathe(); wake != Wake::kReady) {
    return interruption(wake, kOperation);
  }
  if (auto lock = try_lock()) return *std::move(lock);
  const Result<void> got = result_of(waiters_.wait(deadline), kOperation);
  if (!got) return got.error();
  return Lock(*this);
}

std::optional<Mutex::Lock> Mutex::try_lock() noexcept {
  if (locked_) return std::nullopt;
  locked_ = true;
  return Lock(*this);
}

// The mutex stays locked when it goes to a waiter.
void Mutex::unlock() {
  HEDDLE_ASSERT(locked_);
  if (!waiters_.wake_one()) locked_ = false;
}

void Mutex::relock() {
  if (!std::exchange(locked_, true)) return;
  (void)waiters_.wait(Deadline::never(), Cancellable::kNo);
}

Result<void> Condition::wait(Mutex::Lock& lock, Deadline deadline) {
  Mutex& mutex = *lock.mutex_;
  mutex.unlock();
  const Wake wake = waiters_.wait(deadline);
  mutex.relock();
  return result_of(wake, "wait for a condition");
}

void WaitGroup::done() {
  if (pending_ == 0) die("WaitGroup::done() more often than add(): call it once for each");
  if (--pending_ == 0) waiters_.wake_all();
}

Result<void> WaitGroup::wait(Deadline deadline) {
  constexpr const char* kOperation = "wait for a group";
  if (const Wake wake = fiber::breathe(); wake != Wake::kReady) return result_of(wake, kOperation);
  while (pending_ > 0) {
    const Result<void> woken = result_of(waiters_.wait(deadline), kOperation);
    if (!woken) return woken;
  }
  return {};
}

}  // namespace heddle
