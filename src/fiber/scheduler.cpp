// Switching, parking and waking.
//
// The life of a fiber: spawn() maps a stack and queues it; switch_to() jumps to
// fiber_main(), which runs the entry; park() jumps on to the next ready fiber, or
// to run() if there is none; finish() jumps away for good, and whoever runs next
// frees the record and the stack.
#include "fiber/scheduler.h"

#include <cerrno>
#include <utility>

#include <boost/context/detail/fcontext.hpp>

#include "base/die.h"
#include "fiber/no_park.h"
#include "fiber/overflow.h"
#include "fiber/user_code.h"

namespace heddle::fiber {
namespace {

// Initial-exec, so that the signal handler may read it: no lazy allocation.
[[gnu::tls_model("initial-exec")]] thread_local Scheduler* t_current = nullptr;

// Also ends when work that was posted throws out of run().
class CurrentScope {
 public:
  explicit CurrentScope(Scheduler* scheduler) noexcept { t_current = scheduler; }
  CurrentScope(const CurrentScope&) = delete;
  CurrentScope& operator=(const CurrentScope&) = delete;
  ~CurrentScope() { t_current = nullptr; }
};

}  // namespace

// NOLINTNEXTLINE(performance-unnecessary-value-param): for those that keep it.
void Source::post(Posted /*work*/) noexcept {
  die("work from another thread, for a scheduler whose source of events takes none");
}

Scheduler::Scheduler(Source& source, SchedulerOptions options) noexcept
    : source_(source), options_(options), thread_(options.isolation) {
  name_fibers_by([]() noexcept -> const char* {
    const bool in_fiber = t_current != nullptr && t_current->running_ != nullptr;
    return in_fiber ? t_current->running_->name.c_str() : nullptr;
  });
}

Scheduler::~Scheduler() {
  if (live_ != 0) {
    die("a runtime is destroyed while %zu fibers have not finished, such as '%s': stop() and run() "
        "it first",
        live_, first_->name.c_str());
  }
  if (t_current == this) die("a runtime is destroyed inside its own run()");
}

Scheduler& Scheduler::current(const char* call) noexcept {
  if (t_current == nullptr) [[unlikely]]
    die("%s() on a thread on which no runtime runs: call it in a fiber of one", call);
  return *t_current;
}

Scheduler* Scheduler::current_or_null() noexcept {
  return t_current;
}

Scheduler& Scheduler::to_wait(const char* purpose) noexcept {
  if (t_current == nullptr || t_current->running_ == nullptr) [[unlikely]] {
    die("a wait %s outside any fiber: %s", purpose,
        t_current != nullptr ? "work that was posted must not wait, spawn a fiber for it"
                             : "no runtime runs on this thread, call it in a fiber of one");
  }
  return *t_current;
}

Fiber& Scheduler::running_fiber(const char* call) const noexcept {
  if (running_ == nullptr) [[unlikely]]
    die("%s() outside any fiber, in work that was posted to a runtime: spawn a fiber for it", call);
  return *running_;
}

Result<void> Scheduler::spawn(const SpawnOptions& options,
                              const std::shared_ptr<detail::TaskState>& task, Scope* scope) {
  auto owned = std::make_unique<Fiber>();
  Fiber& fiber = *owned;
  fiber.name = options.name;
  timers_.reserve(live_ + 1);  // So that nobody's park can fail.
  // What comes from here on needs no memory, but for the stack.
  fiber.stack =
      stacks_.acquire(options.stack_bytes != 0 ? options.stack_bytes : options_.stack_bytes);
  if (fiber.stack.base == nullptr) {
    return Error{.code = Errc::kExhausted, .sys_errno = errno, .operation = "map a fiber's stack"};
  }
  fiber.where = boost::context::detail::make_fcontext(
      fiber.stack.top(), fiber.stack.bytes,
      [](boost::context::detail::transfer_t from) { fiber_main(from.data, from.fctx); });
  sanitizer::create(fiber.sanitizer, fiber.stack.base, fiber.stack.bytes);
  fiber.scheduler = this;
  fiber.id = next_id_++;
  fiber.spawned = t_current == this ? now() : source_.look_at_clock();
  fiber.scope = scope;
  fiber.cancelled = cancelled_;
  fiber.task = task;
  fiber.task->fiber = &fiber;

  fiber.previous = last_;
  (last_ != nullptr ? last_->next : first_) = &fiber;
  last_ = &fiber;
  ++live_;
  push_ready(*owned.release());
  return {};
}

void Scheduler::run() {
  if (t_current != nullptr) die("run() inside run(), on one thread");
  const CurrentScope current(this);
  thread_.attach();
  sanitizer::adopt_thread(main_.sanitizer);
  picks_ = source_.picks();
  if (options_.report_stack_overflow) watch_for_stack_overflow();
  // Also with no fiber: there may be work posted that spawns one.
  do {
    poll();
    budget_ = kStepsPerPoll;
    if (Fiber* const next = pop_ready()) switch_to(main_, *next, /*from_ends=*/false);
  } while (live_ > 0);
  failed_.rethrow();
}

// Runs on the thread's own stack: what it calls may wake, spawn and post.
void Scheduler::poll() {
  const bool idle = ready_count_ == 0 && live_ > 0;
  source_.wait(idle ? timers_.next() : Deadline::at(TimePoint::min()));
  const TimePoint now = source_.now();
  while (Fiber* const due = timers_.pop_due(now)) make_ready(*due, Wake::kTimedOut);
}

Wake Scheduler::park(Deadline deadline, Purpose purpose, Cancellable cancellable) {
  Fiber& fiber = running_fiber();
  forbid_in_no_park_scope("parks");
  fiber.cancellable = cancellable == Cancellable::kYes;
  if (fiber.cancelled && fiber.cancellable) {
    (void)breathe();
    return Wake::kCancelled;
  }
  fiber.state = Fiber::State::kParked;
  fiber.deadline = deadline;
  fiber.purpose = purpose;
  if (!deadline.is_never()) timers_.arm(fiber, deadline);
  leave_running(fiber);
  return fiber.wake;
}

Wake Scheduler::yield() {
  Fiber& fiber = running_fiber();
  forbid_in_no_park_scope("yields");
  operations_left_ = kOperationsPerTurn;
  push_ready(fiber);
  leave_running(fiber);
  return fiber.cancelled ? Wake::kCancelled : Wake::kReady;
}

// Goes on with the next ready fiber: perhaps the same one, when it yielded.
void Scheduler::leave_running(Fiber& fiber) noexcept {
  if (budget_ == 0) return switch_to(fiber, main_, /*from_ends=*/false);
  --budget_;
  Fiber* const next = pop_ready();
  if (next == &fiber) {
    fiber.state = Fiber::State::kRunning;
  } else if (next != nullptr) {
    switch_to(fiber, *next, /*from_ends=*/false);
  } else {
    switch_to(fiber, main_, /*from_ends=*/false);
  }
}

Wake Scheduler::give_way(Deadline deadline) {
  budget_ = 0;  // So that yield() goes by the thread's own stack, which looks for events.
  const Wake wake = yield();
  if (wake != Wake::kReady) return wake;
  return now() < deadline.time() ? Wake::kReady : Wake::kTimedOut;
}

Wake Scheduler::breathe() {
  if (budget_ > 0) --budget_;
  if (--operations_left_ > 0) return Wake::kReady;
  operations_left_ = 1;  // If it cannot be now, then at the next operation.
  return NoParkScope::active() == nullptr ? yield() : Wake::kReady;
}

void Scheduler::refuse_other_thread(const Fiber& fiber) noexcept {
  die("fiber '%s', which waits %s, is woken on another runtime's thread: use Runtime::post()",
      fiber.name.c_str(), fiber.purpose.text);
}

void Scheduler::forbid_in_no_park_scope(const char* verb) const noexcept {
  if (const char* const what = NoParkScope::active()) [[unlikely]] {
    die("it %s inside %s, where no other fiber may run: do it before or behind that", verb, what);
  }
}

void Scheduler::switch_to(Context& from, Context& to, bool from_ends) noexcept {
  ++switches_;
  operations_left_ = kOperationsPerTurn;
  running_ = &to == &main_ ? nullptr : static_cast<Fiber*>(&to);
  if (running_ != nullptr) running_->state = Fiber::State::kRunning;
  thread_.save(from.foreign);
  sanitizer::before_switch(from.sanitizer, to.sanitizer, from_ends);
  const auto back = boost::context::detail::jump_fcontext(to.where, &from);
  Context& came_from = *static_cast<Context*>(back.data);
  came_from.where = back.fctx;
  arrive(from, came_from);
}

void Scheduler::arrive(Context& now, Context& from) noexcept {
  sanitizer::after_switch(now.sanitizer, from.sanitizer);
  thread_.restore(now.foreign);
  if (finished_ != nullptr) reap();
}

// The last frame of every fiber. Never returns: there is nothing below it.
void Scheduler::fiber_main(void* from, void* where) noexcept {
  Scheduler& scheduler = *t_current;
  Fiber& fiber = *scheduler.running_;
  auto& came_from = *static_cast<Context*>(from);
  came_from.where = where;
  scheduler.arrive(fiber, came_from);
  call_user(&detail::TaskState::run, *fiber.task);
  while (!fiber.locals.empty()) call_user(&Fiber::end_last_local, fiber);
  scheduler.finish(fiber);
}

void Scheduler::finish(Fiber& fiber) noexcept {
  fiber.state = Fiber::State::kFinished;
  fiber.task->fiber = nullptr;
  fiber.task->joiners.wake_all();
  if (fiber.scope != nullptr) {
    fiber.scope->child_finished(fiber);
  } else if (fiber.task->escaped) {
    failed_.add(fiber.task);
  }
  call_user([&] { fiber.task.reset(); });  // May destroy a result.
  finished_ = &fiber;
  Fiber* const next = budget_ > 0 ? pop_ready() : nullptr;
  if (next != nullptr) --budget_;
  switch_to(fiber, next != nullptr ? static_cast<Context&>(*next) : main_, /*from_ends=*/true);
  die("finished fiber '%s' runs again", fiber.name.c_str());
}

void Scheduler::reap() noexcept {
  const std::unique_ptr<Fiber> fiber(std::exchange(finished_, nullptr));
  timers_.remove(*fiber);
  (fiber->previous != nullptr ? fiber->previous->next : first_) = fiber->next;
  (fiber->next != nullptr ? fiber->next->previous : last_) = fiber->previous;
  --live_;
  sanitizer::destroy(fiber->sanitizer);
  stacks_.release(fiber->stack);
}

void Scheduler::cancel(Fiber& fiber) noexcept {
  if (fiber.shields > 0) {
    fiber.cancelled_behind = true;
    return;
  }
  fiber.cancelled = true;
  interrupt(fiber);
}

void Scheduler::interrupt(Fiber& fiber) noexcept {
  if (fiber.cancellable) make_ready(fiber, Wake::kCancelled);
}

void Scheduler::cancel_all() noexcept {
  cancelled_ = true;
  for (Fiber* fiber = first_; fiber != nullptr; fiber = fiber->next) cancel(*fiber);
}

void Scheduler::make_ready(Fiber& fiber, Wake reason) noexcept {
  if (fiber.state != Fiber::State::kParked) return;
  fiber.wake = reason;
  fiber.deadline = Deadline::never();
  push_ready(fiber);
}

void Scheduler::push_ready(Fiber& fiber) noexcept {
  fiber.state = Fiber::State::kReady;
  fiber.next_ready = nullptr;
  (ready_head_ != nullptr ? ready_tail_->next_ready : ready_head_) = &fiber;
  ready_tail_ = &fiber;
  ++ready_count_;
}

Fiber* Scheduler::pop_ready() noexcept {
  if (ready_head_ == nullptr) return nullptr;
  Fiber* before = nullptr;
  Fiber* picked = ready_head_;
  if (picks_) {
    for (std::size_t i = source_.pick(ready_count_); i > 0; --i) {
      before = std::exchange(picked, picked->next_ready);
    }
  }
  (before != nullptr ? before->next_ready : ready_head_) = picked->next_ready;
  if (ready_tail_ == picked) ready_tail_ = before;
  --ready_count_;
  return picked;
}

}  // namespace heddle::fiber
