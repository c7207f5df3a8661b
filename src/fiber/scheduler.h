// Cooperative scheduler: many fibers, one thread, no preemption.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/fiber.h"
#include "heddle/isolation.h"
#include "heddle/result.h"
#include "heddle/transport.h"
#include "heddle/wait_queue.h"

#include "fiber/fiber.h"
#include "fiber/foreign_state.h"
#include "fiber/stack.h"
#include "fiber/timer_queue.h"

namespace heddle::fiber {

// Posted is work from another thread, in order. A list, so that what was made while memory could
// still be short is handed over without any.
using Posted = std::list<std::unique_ptr<detail::Work>>;

// Throws std::bad_alloc.
template <typename Function>
Posted posted(Function work) {
  Posted one;
  one.push_back(detail::make_work(std::move(work)));
  return one;
}

// Source is where the scheduler gets time and, when nothing is ready, events.
// The epoll reactor is one; the simulator is the other.
class Source {
 public:
  virtual ~Source() = default;

  // As of the last look at the clock: costs nothing.
  virtual TimePoint now() const noexcept = 0;

  // Looks at the clock; now() is the same from then on.
  virtual TimePoint look_at_clock() noexcept { return now(); }

  // Looks for events, waiting for them no longer than `until`, and wakes fibers by
  // Scheduler::wake(). A time that has passed means: look, do not wait.
  virtual void wait(Deadline until) = 0;

  // Runs `work` in the next wait(). Any thread. A source without other threads need not have it.
  virtual void post(Posted work) noexcept;

  // Whether pick() decides the order of fibers. If not, they run in the order in
  // which they became ready.
  virtual bool picks() const noexcept { return false; }
  virtual std::size_t pick(std::size_t count) noexcept { return (void)count, 0; }
};

struct SchedulerOptions {
  Isolation isolation = Isolation::kIsolated;
  std::size_t stack_bytes = std::size_t{128} * 1024;
  bool report_stack_overflow = true;
};

// Scheduler switches straight from fiber to fiber. It goes back to the thread's own
// stack when nothing is ready, and now and then to look for events.
//
// Threads: one; the one that calls run().
class Scheduler {
 public:
  explicit Scheduler(Source& source, SchedulerOptions options = {}) noexcept;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Precondition: every fiber has finished. Destroying a parked one would leave
  // its frames, and what they own, behind.
  ~Scheduler();

  // The scheduler that runs on this thread. The first form ends the process if there is none, and
  // names the `call`.
  static Scheduler& current(const char* call = __builtin_FUNCTION()) noexcept;
  static Scheduler* current_or_null() noexcept;
  // The same for a fiber that is going to wait: as in Purpose.
  static Scheduler& to_wait(const char* purpose) noexcept;

  // Makes a fiber ready. Fails with kExhausted when no stack can be mapped.
  Result<void> spawn(const SpawnOptions& options, const std::shared_ptr<detail::TaskState>& task,
                     Scope* scope);

  // Runs until every fiber has finished. Throws what an entry outside any scope
  // threw, if nobody has taken it from its Task.
  void run();

  // Parks the running fiber until wake() or `deadline`. Returns kCancelled at once,
  // and every time from then on, if the fiber was cancelled, unless `cancellable`
  // is kNo. Other fibers may run all the same: see breathe().
  Wake park(Deadline deadline, Purpose purpose = {}, Cancellable cancellable = Cancellable::kYes);

  // Makes a parked fiber ready; otherwise does nothing. Ends the process if it is another
  // scheduler's, and so another thread's.
  void wake(Fiber& fiber) noexcept {
    if (fiber.scheduler != this) [[unlikely]]
      refuse_other_thread(fiber);
    make_ready(fiber, Wake::kReady);
  }

  void cancel(Fiber& fiber) noexcept;
  // Ends the present park of `fiber` as cancel() does, and nothing else.
  void interrupt(Fiber& fiber) noexcept;
  void cancel_all() noexcept;  // Present and future.

  // Lets the other ready fibers run, whether the fiber is cancelled or not. Returns kReady or
  // kCancelled.
  Wake yield();

  // Looks for events and lets the other ready fibers run, for an operation that has done its share
  // of long work. Returns kTimedOut if `deadline` has passed meanwhile.
  Wake give_way(Deadline deadline);

  // To be called by an operation that could have parked and did not have to, or that has failed
  // at once: yields after many of them. So a fiber whose peer never lets it wait, or that repeats
  // what fails for good, does not keep the others from running. Does nothing where parking is
  // forbidden. Returns kCancelled, and the operation is to fail with that, if it has yielded and
  // the fiber is cancelled: a goodbye can still be sent then, but a loop ends. Otherwise kReady.
  Wake breathe();

  // The running fiber, or null on the thread's own stack.
  Fiber* running() const noexcept { return running_; }
  // Ends the process outside fibers, and names the `call`.
  Fiber& running_fiber(const char* call = __builtin_FUNCTION()) const noexcept;

  Source& source() const noexcept { return source_; }
  TimePoint now() const noexcept { return source_.now(); }
  // By the clock, not by now(): a fiber that ran before may have taken longer than `delay`.
  Deadline after(Duration delay) const noexcept {
    return Deadline::after(source_.look_at_clock(), delay);
  }
  Isolation isolation() const noexcept { return options_.isolation; }

  // The error queue of the thread that run() was called on.
  const ThreadErrorQueue& error_queue() const noexcept { return thread_.error_queue(); }

  std::size_t fibers() const noexcept { return live_; }
  // Oldest first. Of a descriptor that is waited for, the number is all that is known here.
  std::vector<FiberInfo> describe_fibers() const;
  std::uint64_t switches() const noexcept { return switches_; }
  std::uint64_t exchanges() const noexcept { return thread_.exchanges(); }
  std::size_t stacks_pooled() const noexcept { return stacks_.pooled(); }

 private:
  // Switches, and operations in between, from one look for events and deadlines to the next when
  // fibers keep each other busy.
  static constexpr unsigned kStepsPerPoll = 128;
  // Operations that a fiber may do in a row without parking.
  static constexpr unsigned kOperationsPerTurn = 16;

  static void fiber_main(void* from, void* where) noexcept;

  [[noreturn, gnu::cold]] static void refuse_other_thread(const Fiber& fiber) noexcept;
  void make_ready(Fiber& fiber, Wake reason) noexcept;
  void push_ready(Fiber& fiber) noexcept;
  Fiber* pop_ready() noexcept;
  // Inline: the jump returns elsewhere than the processor predicts, and so does then every
  // function between it and the fiber's own code, at 5 ns each.
  [[gnu::always_inline]] inline void leave_running(Fiber& fiber) noexcept;
  [[gnu::always_inline]] inline void switch_to(Context& from, Context& to, bool from_ends) noexcept;
  [[gnu::always_inline]] inline void arrive(Context& now, Context& from) noexcept;
  void forbid_in_no_park_scope(const char* verb) const noexcept;
  void finish(Fiber& fiber) noexcept;
  void reap() noexcept;
  void poll();

  Source& source_;
  SchedulerOptions options_;
  ThreadState thread_;
  bool picks_ = false;

  Context main_;  // The thread's own stack, inside run().
  Fiber* running_ = nullptr;
  Fiber* finished_ = nullptr;  // Left its stack for good; not yet freed.

  Fiber* ready_head_ = nullptr;
  Fiber* ready_tail_ = nullptr;
  std::size_t ready_count_ = 0;
  unsigned budget_ = 0;  // Steps left before the next look for events.
  unsigned operations_left_ = kOperationsPerTurn;

  Fiber* first_ = nullptr;  // All fibers, in spawn order.
  Fiber* last_ = nullptr;
  std::size_t live_ = 0;
  bool cancelled_ = false;

  TimerQueue timers_;
  StackPool stacks_;
  detail::Failures failed_;
  std::uint64_t next_id_ = 1;
  std::uint64_t switches_ = 0;
};

}  // namespace heddle::fiber
