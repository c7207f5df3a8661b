// Scopes, tasks and this_fiber: the public face of the scheduler.
#include <atomic>
#include <utility>

#include "heddle/fiber.h"
#include "heddle/fiber_local.h"

#include "base/assert.h"
#include "base/die.h"
#include "base/interruption.h"
#include "fiber/scheduler.h"

namespace heddle {
namespace detail {

TaskState::~TaskState() = default;

Work::~Work() = default;

void TaskState::run() noexcept {
  try {
    call_entry();
    // tidy: the entry is the last frame; whoever joins gets the exception.
  } catch (...) {
    escaped = std::current_exception();
  }
  drop_entry();
}

Result<void> join(TaskState& state, Deadline deadline) {
  while (state.fiber != nullptr) {
    if (state.fiber == fiber::Scheduler::current().running()) {
      die("Task::join() of the fiber that calls it, which would wait for itself: join it from "
          "another");
    }
    const Wake wake = state.joiners.wait(deadline);
    if (wake != Wake::kReady) return interruption(wake, "join a fiber");
  }
  return {};
}

void assert_not_taken(bool result_is_there) {
  if (!result_is_there) die("Task::join() once more: the result was taken by the first; keep it");
}

void cancel(TaskState& state) {
  if (state.fiber != nullptr) state.fiber->scheduler->cancel(*state.fiber);
}

// Where only this list still knows a task, its exception is sure to be thrown: nothing
// after it can be the first. So a server whose Tasks are dropped keeps one.
void Failures::add(std::shared_ptr<TaskState> task) noexcept {
  bool decided = false;
  std::shared_ptr<TaskState>* at = &first_;
  while (*at != nullptr) {
    if ((*at)->escaped) {
      decided = decided || at->use_count() == 1;
      at = &(*at)->next_failed;
    } else {
      *at = std::exchange((*at)->next_failed, nullptr);
    }
  }
  if (!decided) *at = std::move(task);
}

std::shared_ptr<TaskState> Failures::take_first() noexcept {
  std::shared_ptr<TaskState> first = std::move(first_);
  first_ = std::exchange(first->next_failed, nullptr);
  return first;
}

void Failures::rethrow() {
  Failures present;
  present.first_ = std::exchange(first_, nullptr);
  while (present.first_ != nullptr) {
    const auto task = present.take_first();
    if (task->escaped) std::rethrow_exception(std::exchange(task->escaped, nullptr));
  }
}

// One by one: the list may be long, and each would end the next inside of its own end.
Failures::~Failures() {
  while (first_ != nullptr) (void)take_first();
}

Shield::Shield() : fiber_(fiber::Scheduler::current().running_fiber()) {
  if (fiber_.shields++ == 0) fiber_.cancelled_behind = std::exchange(fiber_.cancelled, false);
}

Shield::~Shield() {
  if (--fiber_.shields == 0) fiber_.cancelled = fiber_.cancelled_behind;
}

FiberLocalSlot::FiberLocalSlot() {
  static std::atomic<unsigned> next{0};
  id_ = next.fetch_add(1, std::memory_order_relaxed);
}

void* FiberLocalSlot::find() const noexcept {
  for (const auto& [id, value] : fiber::Scheduler::current().running_fiber().locals) {
    if (id == id_) return value.get();
  }
  return nullptr;
}

void FiberLocalSlot::set(std::shared_ptr<void> value) const {
  fiber::Scheduler::current().running_fiber().locals.emplace_back(id_, std::move(value));
}

}  // namespace detail

Scope::Scope() : scheduler_(fiber::Scheduler::current()) {}

Scope::~Scope() {
  HEDDLE_ASSERT(running_ == 0);
}

Result<void> Scope::start(const SpawnOptions& options,
                          const std::shared_ptr<detail::TaskState>& state) {
  const Result<void> spawned = scheduler_.spawn(options, state, this);
  if (!spawned) return spawned;
  fiber::Fiber& child = *state->fiber;
  child.scope_next = first_;
  if (first_ != nullptr) first_->scope_previous = &child;
  first_ = &child;
  ++running_;
  if (cancelled_) scheduler_.cancel(child);
  return {};
}

void Scope::child_finished(fiber::Fiber& child) {
  (child.scope_previous != nullptr ? child.scope_previous->scope_next : first_) = child.scope_next;
  if (child.scope_next != nullptr) child.scope_next->scope_previous = child.scope_previous;
  if (child.task->escaped) failed_.add(child.task);
  if (--running_ == 0) idle_.wake_all();
}

void Scope::cancel() {
  cancelled_ = true;
  for (fiber::Fiber* child = first_; child != nullptr; child = child->scope_next) {
    scheduler_.cancel(*child);
  }
}

void Scope::join_all() {
  while (running_ > 0) {
    const Cancellable cancellable = cancelled_ ? Cancellable::kNo : Cancellable::kYes;
    if (idle_.wait(Deadline::never(), cancellable) == Wake::kCancelled) cancel();
  }
}

Result<void> Scope::join(Deadline deadline) {
  constexpr const char* kOperation = "join the fibers of a scope";
  fiber::Scheduler& scheduler = fiber::Scheduler::current();
  if (scheduler.running_fiber().scope == this) {
    die("Scope::join() by a fiber of that scope, which would wait for itself: join it from the "
        "fiber that opened it");
  }
  if (const Wake wake = scheduler.breathe(); wake != Wake::kReady) {
    return interruption(wake, kOperation);
  }
  while (running_ > 0) {
    const Wake wake = idle_.wait(deadline);
    if (wake != Wake::kReady) return interruption(wake, kOperation);
  }
  return {};
}

void Scope::rethrow_unjoined() {
  failed_.rethrow();
}

namespace this_fiber {

TimePoint now() noexcept {
  return fiber::Scheduler::current().now();
}

Deadline after(Duration delay) noexcept {
  return fiber::Scheduler::current().after(delay);
}

Result<void> yield() {
  const Wake wake = fiber::Scheduler::current().yield();
  if (wake == Wake::kReady) return {};
  return interruption(wake, "yield");
}

Result<void> sleep_until(Deadline deadline) {
  fiber::Scheduler& scheduler = fiber::Scheduler::current();
  // Nobody else knows that this fiber sleeps here, so only time or cancel() ends it.
  if (scheduler.park(deadline, {"for a time"}) == Wake::kTimedOut) return {};
  return interruption(Wake::kCancelled, "sleep");
}

bool cancelled() noexcept {
  return fiber::Scheduler::current().running_fiber().cancelled;
}

std::string_view name() noexcept {
  return fiber::Scheduler::current().running_fiber().name;
}

std::size_t stack_high_water() noexcept {
  return fiber::Scheduler::current().running_fiber().stack.high_water();
}

void release_unused_stack() noexcept {
  // Below this frame lie those of madvise() and of a signal handler, and the red zone.
  constexpr std::ptrdiff_t kSlack = 1024;
  const auto* const here = static_cast<const std::byte*>(__builtin_frame_address(0));
  fiber::Scheduler::current().running_fiber().stack.release_below(here - kSlack);
}

}  // namespace this_fiber
}  // namespace heddle
