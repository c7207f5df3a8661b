// How fibers wait for channels: in the queues of all that they wait for, until whoever comes to one
// of these moves the value on their behalf.
#include "heddle/channel.h"

#include <array>
#include <vector>

#include "base/assert.h"
#include "base/die.h"
#include "base/interruption.h"
#include "fiber/scheduler.h"

namespace heddle {
namespace detail {

// A fiber's wait for the first of several cases.
struct ChannelWait {
  fiber::Fiber& fiber;
  std::span<ChannelWaiter> waiters;  // One for each case.
  const ChannelWaiter* chosen = nullptr;
  ChannelCore::Outcome outcome = ChannelCore::Outcome::kBlocked;

  void end() noexcept {
    for (ChannelWaiter& each : waiters) each.queue->remove(each);
  }
};

namespace {

using Side = ChannelCore::Side;

struct Call {
  const char* name;
  const char* remedy;
  const char* operation;
};

constexpr Call kPush{"Channel::push()", "call try_push(), which never waits", "push to a channel"};
constexpr Call kPop{"Channel::pop()", "call try_pop(), which never waits", "pop from a channel"};
constexpr Call kSelect{"select()", "call try_push() or try_pop(), which never wait",
                       "select from channels"};

// Dies outside fibers also where it would not have to wait: not only under load.
Wake enter(const Call& call) {
  fiber::Scheduler* const scheduler = fiber::Scheduler::current_or_null();
  if (scheduler == nullptr || scheduler->running() == nullptr) [[unlikely]] {
    die("%s outside any fiber, %s: %s", call.name,
        scheduler != nullptr ? "in work that was posted to a runtime"
                             : "on a thread on which no runtime runs",
        call.remedy);
  }
  return scheduler->breathe();
}

}  // namespace

void ChannelQueue::append(ChannelWaiter& waiter) noexcept {
  waiter.previous = tail_;
  waiter.next = nullptr;
  (tail_ != nullptr ? tail_->next : head_) = &waiter;
  tail_ = &waiter;
}

void ChannelQueue::remove(ChannelWaiter& waiter) noexcept {
  (waiter.previous != nullptr ? waiter.previous->next : head_) = waiter.next;
  (waiter.next != nullptr ? waiter.next->previous : tail_) = waiter.previous;
}

ChannelCore::~ChannelCore() {
  HEDDLE_ASSERT(producers_.first() == nullptr && consumers_.first() == nullptr);
}

Error ChannelCore::closed_error() {
  return {.code = Errc::kDisconnected, .operation = kPush.operation, .detail = "it is closed"};
}

Error ChannelCore::full_error() {
  return {.code = Errc::kExhausted, .operation = kPush.operation, .detail = "it is full"};
}

// All of the wait's cases leave their queues at once: nobody may choose a second one.
void ChannelCore::complete(ChannelWaiter& waiter, Outcome outcome) {
  ChannelWait& wait = *waiter.wait;
  wait.chosen = &waiter;
  wait.outcome = outcome;
  wait.end();
  fiber::Scheduler::current().wake(wait.fiber);
}

void ChannelCore::close() {
  closed_ = true;
  while (ChannelWaiter* const producer = producers_.first()) complete(*producer, Outcome::kClosed);
  while (ChannelWaiter* const consumer = consumers_.first()) complete(*consumer, Outcome::kClosed);
}

Result<std::size_t> ChannelCore::wait(std::span<const Case> cases, std::span<ChannelWaiter> waiters,
                                      Deadline deadline, const char* operation) {
  fiber::Scheduler& scheduler = fiber::Scheduler::current();
  ChannelWait wait{.fiber = scheduler.running_fiber(), .waiters = waiters};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    ChannelQueue& queue = cases[i].channel->queue(cases[i].side);
    waiters[i] = {.wait = &wait, .queue = &queue, .slot = cases[i].slot};
    queue.append(waiters[i]);
  }
  const Wake wake = scheduler.park(deadline, {"for a channel"});
  if (wait.chosen == nullptr) {
    wait.end();
    HEDDLE_ASSERT(wake != Wake::kReady);
    return interruption(wake, operation);
  }
  const auto index = static_cast<std::size_t>(wait.chosen - waiters.data());
  if (wait.outcome == Outcome::kClosed && cases[index].side == Side::kPush) return closed_error();
  return index;
}

Result<void> ChannelCore::perform(Side side, void* slot, Deadline deadline) {
  const Call& call = side == Side::kPush ? kPush : kPop;
  if (const Wake wake = enter(call); wake != Wake::kReady) {
    return interruption(wake, call.operation);
  }
  const Outcome outcome = attempt(side, slot);
  if (outcome == Outcome::kDone) return {};
  if (outcome == Outcome::kClosed) {
    if (side == Side::kPush) return closed_error();
    return {};
  }
  const std::array<Case, 1> cases{{{this, side, slot}}};
  std::array<ChannelWaiter, 1> waiters;
  const auto done = wait(cases, waiters, deadline, call.operation);
  if (!done) return done.error();
  return {};
}

Result<std::size_t> ChannelCore::select(std::span<const Case> cases, Deadline deadline) {
  if (const Wake wake = enter(kSelect); wake != Wake::kReady) {
    return interruption(wake, kSelect.operation);
  }
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const Case& each = cases[i];
    const Outcome outcome = each.channel->attempt(each.side, each.slot);
    if (outcome == Outcome::kBlocked) continue;
    if (outcome == Outcome::kClosed && each.side == Side::kPush) return closed_error();
    return i;
  }
  std::vector<ChannelWaiter> waiters(cases.size());
  return wait(cases, waiters, deadline, kSelect.operation);
}

}  // namespace detail

Result<std::size_t> select(std::span<const SelectCase> cases, Deadline deadline) {
  std::vector<detail::ChannelCore::Case> inner;
  inner.reserve(cases.size());
  for (const SelectCase& each : cases) inner.push_back(each.case_);
  return detail::ChannelCore::select(inner, deadline);
}

}  // namespace heddle
