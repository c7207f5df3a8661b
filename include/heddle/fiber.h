// Fibers: stackful coroutines that run one at a time on a runtime's thread, and
// the structured ways to start and join them.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/wait_queue.h"

namespace heddle {

namespace fiber {
class Scheduler;
}

struct SpawnOptions {
  std::string name{};           // For messages and dumps; need not be unique.
  std::size_t stack_bytes = 0;  // 0: RuntimeOptions::stack_bytes. Rounded up to pages.
};

// FiberInfo says what one fiber does: a line of a dump.
struct FiberInfo {
  enum class State : std::uint8_t { kReady, kRunning, kWaiting };

  std::uint64_t id = 0;  // Counted from 1 in the order in which a runtime's fibers were spawned.
  std::string name;
  Duration age{};  // Since it was spawned.
  State state = State::kReady;
  bool cancelled = false;

  // Set while the fiber waits: what it waits for, as in "for a mutex" or "to read from descriptor
  // 7"; the descriptor that it waits for, if any (in wait_descriptor(), the library's duplicate);
  // and the time left, if it has a deadline.
  std::string purpose;
  std::optional<int> descriptor;
  std::optional<Duration> remaining;
};

// One line: `#12 'request', 3.250 s old, waits to read from descriptor 7, 0.750 s left`.
HEDDLE_API std::string to_string(const FiberInfo& fiber);

namespace detail {

// TaskState is what a fiber runs and what its joiners need: the entry, then its
// result. Shared by the fiber, its scope and the Task, on one thread.
class HEDDLE_API TaskState {
 public:
  TaskState() = default;
  TaskState(const TaskState&) = delete;
  TaskState& operator=(const TaskState&) = delete;
  virtual ~TaskState();

  // Runs the entry, stores its result or its exception, and destroys the entry, so that its
  // captures end with the fiber and not with the last Task.
  void run() noexcept;

  fiber::Fiber* fiber = nullptr;  // Null once the entry has returned.
  std::exception_ptr escaped;
  std::shared_ptr<TaskState> next_failed;  // Kept by Failures.
  WaitQueue joiners{"to join a fiber"};

 private:
  virtual void call_entry() = 0;
  virtual void drop_entry() noexcept = 0;
};

// Failures remembers which entries threw while a Task can still take the exception, and keeps the
// first exception that no Task can take any more. It does not allocate: the exception may be
// std::bad_alloc.
class HEDDLE_API Failures {
 public:
  Failures() = default;
  Failures(const Failures&) = delete;
  Failures& operator=(const Failures&) = delete;
  ~Failures();

  void add(std::shared_ptr<TaskState> task) noexcept;

  // Throws the first exception that nobody has taken, if there is one.
  void rethrow();

 private:
  std::shared_ptr<TaskState> take_first() noexcept;

  std::shared_ptr<TaskState> first_;  // Oldest first, linked by next_failed.
};

// An entry that returns Result<U> joins as Result<U>, not as Result<Result<U>>.
template <typename T>
struct Joined {
  using Value = T;
};
template <typename T>
struct Joined<Result<T>> {
  using Value = T;
};

template <typename Returned>
using StoredResult = std::conditional_t<std::is_void_v<Returned>, std::monostate, Returned>;

template <typename Returned>
class TypedTaskState : public TaskState {
 public:
  std::optional<StoredResult<Returned>> result;
};

// Every spawn() instantiates this template. Code that does not depend on the type of the entry is
// elsewhere, so that programs compile quickly.
template <typename Returned, typename Entry>
class EntryState final : public TypedTaskState<Returned> {  // NOLINT: its destructor is virtual.
 public:
  explicit EntryState(Entry entry) : entry_(std::move(entry)) {}
  EntryState(const EntryState&) = delete;
  EntryState& operator=(const EntryState&) = delete;
  ~EntryState() override {
    if (!dropped_) entry_.~Entry();
  }

 private:
  void call_entry() override {
    if constexpr (std::is_void_v<Returned>) {
      entry_();
      this->result.emplace();
    } else {
      this->result.emplace(entry_());
    }
  }

  void drop_entry() noexcept override {
    dropped_ = true;
    entry_.~Entry();
  }

  union {
    Entry entry_;
  };
  bool dropped_ = false;
};

// Not make_shared(), which would be compiled anew for each type of entry.
template <typename Entry, typename Returned = std::invoke_result_t<Entry>>
std::shared_ptr<TypedTaskState<Returned>> make_task_state(Entry entry) {
  return std::unique_ptr<TypedTaskState<Returned>>(
      new EntryState<Returned, Entry>(std::move(entry)));
}

// Work is what is posted to a runtime: a function that is called once, and that need not be
// copyable, as that of a std::function must be (std::move_only_function is C++23).
class HEDDLE_API Work {
 public:
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work();

  virtual void run() = 0;
};

template <typename Function>
class TypedWork final : public Work {
 public:
  explicit TypedWork(Function function) : function_(std::move(function)) {}
  void run() override { (void)function_(); }

 private:
  Function function_;
};

template <typename Function>
std::unique_ptr<Work> make_work(Function function) {
  return std::make_unique<TypedWork<Function>>(std::move(function));
}

HEDDLE_API Result<void> join(TaskState& state, Deadline deadline);
HEDDLE_API void cancel(TaskState& state);
HEDDLE_API void assert_not_taken(bool result_is_there);

// Returns the result of an entry that has returned, once; or throws what the entry threw.
template <typename Returned>
auto take_result(TypedTaskState<Returned>& state) -> Result<typename Joined<Returned>::Value> {
  if (state.escaped) std::rethrow_exception(std::exchange(state.escaped, nullptr));
  assert_not_taken(state.result.has_value());
  if constexpr (std::is_void_v<Returned>) {
    return {};
  } else {
    return *std::exchange(state.result, std::nullopt);
  }
}

}  // namespace detail

// Task is a handle to a spawned fiber: it gets the fiber's result, or cancels the fiber. Destroying
// a Task neither detaches nor stops the fiber; the fiber's scope still joins it.
//
// Fibers:   join() parks. Any number of fibers may join a task without a result;
//   a result or exception can be taken once.
// Threads:  the runtime's thread.
template <typename Returned>
class Task {
 public:
  using Value = typename detail::Joined<Returned>::Value;

  // Parks until the fiber has finished, and takes its result. Throws what its entry threw. Fails
  // with kTimedOut, or kCancelled if the *calling* fiber is cancelled; the task may then be joined
  // again. Precondition: no earlier join() has returned the result or thrown the exception.
  Result<Value> join(Deadline deadline = Deadline::never()) {
    const Result<void> finished = detail::join(*state_, deadline);
    if (!finished) return finished.error();
    return detail::take_result(*state_);
  }

  // Asks the fiber to stop: the call in which it is parked, and every call that would park from
  // then on, fails with kCancelled. A call that need not park still succeeds, but only a few times
  // in a row, so a loop over a peer that always has data is stopped too. cancel() itself does not
  // wait. It may be called before, during and after run().
  void cancel() { detail::cancel(*state_); }

  bool finished() const noexcept { return state_->fiber == nullptr; }

  // For spawn().
  explicit Task(std::shared_ptr<detail::TypedTaskState<Returned>> state)
      : state_(std::move(state)) {}

 private:
  std::shared_ptr<detail::TypedTaskState<Returned>> state_;
};

namespace detail {

// Common to every spawn(): `start` makes a fiber that runs the state.
template <typename Entry, typename Start>
auto start_task(Entry entry, Start start) -> Result<Task<std::invoke_result_t<Entry>>> {
  using Returned = std::invoke_result_t<Entry>;
  auto state = make_task_state(std::move(entry));
  const Result<void> started = start(state);
  if (!started) return started.error();
  return Task<Returned>(std::move(state));
}

}  // namespace detail

// Scope bounds the life of the fibers spawned in it: see scope() below.
//
// Fibers:   join() parks. spawn() and cancel() may be called by any fiber of the runtime while
//   the scope is open.
class HEDDLE_API Scope {
 public:
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope();

  // Starts a fiber that runs `entry()`; it first runs when the caller parks or yields. Fails with
  // kExhausted when no stack can be mapped: memory is short, or the process has as many mappings as
  // vm.max_map_count allows.
  template <std::invocable Entry>
  auto spawn(const SpawnOptions& options, Entry entry)
      -> Result<Task<std::invoke_result_t<Entry>>> {
    return detail::start_task(std::move(entry),
                              [&](const auto& state) { return start(options, state); });
  }
  template <std::convertible_to<std::string> Name, std::invocable Entry>
  auto spawn(Name&& name, Entry entry) -> Result<Task<std::invoke_result_t<Entry>>> {
    return spawn(SpawnOptions{.name = std::forward<Name>(name)}, std::move(entry));
  }

  // Cancels every fiber of the scope, and those spawned in it later.
  void cancel();

  // Parks until all fibers of the scope have finished. It may be called in the middle of the
  // scope's body: more fibers can be spawned afterwards. Fails with kTimedOut, or with kCancelled
  // if the calling fiber is cancelled; in either case the fibers of the scope go on. Precondition:
  // the caller is not a fiber of the scope.
  Result<void> join(Deadline deadline);

  // How many of its fibers have not finished.
  std::size_t size() const noexcept { return running_; }

 private:
  friend class fiber::Scheduler;
  template <typename Body>
  friend auto scope(Body&& body) -> std::invoke_result_t<Body, Scope&>;

  Scope();
  Result<void> start(const SpawnOptions& options, const std::shared_ptr<detail::TaskState>& state);
  void child_finished(fiber::Fiber& child);
  void join_all();
  void rethrow_unjoined();

  fiber::Scheduler& scheduler_;
  fiber::Fiber* first_ = nullptr;  // Its running fibers, newest first.
  std::size_t running_ = 0;
  bool cancelled_ = false;
  detail::Failures failed_;
  WaitQueue idle_{"to join the fibers of its scope"};
};

// Runs `body(scope)` on the calling fiber, then parks until every fiber that was spawned in the
// scope has finished, and returns what `body` returned. So no fiber outlives the variables of the
// caller. Variables that `body` itself declares end when `body` returns, which may be before the
// fibers end.
//
// If the calling fiber is cancelled, or `body` throws, the scope's fibers are cancelled and still
// joined. The join() of an entry's Task throws what the entry threw. The first exception that no
// join() has taken by the end of the scope is thrown by scope(). It does not cancel the other
// fibers: one bad connection must not end a server.
template <typename Body>
auto scope(Body&& body) -> std::invoke_result_t<Body, Scope&> {
  Scope opened;
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Body, Scope&>>) {
      body(opened);
      opened.join_all();
      opened.rethrow_unjoined();
    } else {
      auto result = body(opened);
      opened.join_all();
      opened.rethrow_unjoined();
      return result;
    }
    // tidy: goes on after the scope's fibers have ended.
  } catch (...) {
    opened.cancel();
    opened.join_all();
    throw;
  }
}

namespace detail {

// For this_fiber::shielded().
class HEDDLE_API Shield {
 public:
  Shield();
  Shield(const Shield&) = delete;
  Shield& operator=(const Shield&) = delete;
  ~Shield();

 private:
  fiber::Fiber& fiber_;
};

}  // namespace detail

// The running fiber. Precondition of all: called from a fiber.
namespace this_fiber {

// Returns the time at which the runtime last looked for events, or a fiber called after().
// Deadlines are compared with this time. Costs no system call.
HEDDLE_API TimePoint now() noexcept;

// Returns a deadline `delay` from now. It reads the clock, so the time that other fibers have taken
// since the runtime last looked for events does not shorten the delay. A delay that the clock
// cannot hold gives Deadline::never().
HEDDLE_API Deadline after(Duration delay) noexcept;
template <typename Rep, typename Period>
Deadline after(std::chrono::duration<Rep, Period> delay) noexcept {
  return after(saturated(delay));
}

// Lets the other ready fibers run first. Fails with kCancelled, also after the others have run.
HEDDLE_API Result<void> yield();

// Parks until `deadline` has passed. Fails with kCancelled.
HEDDLE_API Result<void> sleep_until(Deadline deadline);

// Returns whether the fiber was cancelled; always false inside shielded().
HEDDLE_API bool cancelled() noexcept;
HEDDLE_API std::string_view name() noexcept;

// Runs `body()` as if the fiber had not been cancelled, and returns what it returns. For clean-up
// that has to wait, such as a goodbye to a peer or a rollback. An earlier cancellation, or one that
// comes meanwhile, takes effect again as soon as `body` has returned or thrown. Only deadlines end
// the waits in `body`, so give each call one: the fiber's scope waits for `body`, and so does a
// runtime that was told to stop(). Shields may be nested; the outermost counts. Fibers that `body`
// spawns are not shielded.
template <std::invocable Body>
auto shielded(Body&& body) -> std::invoke_result_t<Body> {
  const detail::Shield shield;
  return std::forward<Body>(body)();
}

// Returns how many bytes of the stack were touched since it was mapped, by this fiber or by an
// earlier one that used the same pooled stack. Scans memory: use it to choose
// SpawnOptions::stack_bytes, not on every request.
HEDDLE_API std::size_t stack_high_water() noexcept;

// Gives the stack pages below the caller's frame back to the kernel: for a fiber whose calls went
// deep once and that will now wait for long. Costs one system call if they went deep.
HEDDLE_API void release_unused_stack() noexcept;

}  // namespace this_fiber
}  // namespace heddle
