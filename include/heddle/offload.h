// OffloadPool: threads for functions that block or compute for long, so that a runtime's
// thread does not.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/fiber.h"
#include "heddle/result.h"

namespace heddle {

struct OffloadOptions {
  std::size_t threads = 0;  // 0: as many as the machine has processors.

  // How many functions may wait for a thread. Further ones are refused: work that waits for longer
  // than the peer is willing to wait is wasted.
  std::size_t queue_max = 1024;

  // Added to the threads' nice value (nice(2)), 0 to 19. With about 10, the runtime's thread takes
  // precedence where they share a processor, and long computations do not hold up other work.
  int nice = 0;
};

struct OffloadStats {
  std::size_t queued = 0;       // Waiting for a thread.
  std::size_t running = 0;      // On one.
  std::uint64_t done = 0;       // Have returned or thrown, since the pool was created.
  std::uint64_t withdrawn = 0;  // Given up before they began: never ran.
  std::uint64_t abandoned = 0;  // Given up while they ran.
  std::uint64_t refused = 0;    // Found the queue full.
};

// OffloadPool runs functions on OS threads while the fibers that called them are parked: for
// getaddrinfo(), fsync(), compression, a signature with a big key. Functions begin in the order in
// which they were submitted.
//
// Fibers:   run() and run_abandonable() park. The function itself runs outside any fiber: it may
//   block but must not park, and it must not use anything that belongs to a runtime, except
//   Runtime::post().
// Threads:  any number of runtimes, on any threads, may share a pool. The function and its captures
//   are destroyed on the pool's thread; its result is moved to the fiber. The threads block all
//   signals, except while a function runs: then they block those that the fiber's thread blocks,
//   and processes that the function starts inherit that. Signals (heddle/signals.h) blocks none.
//   After fork() the child has none of the threads: create pools after fork().
// Moving:   as Runtime. Not while another thread uses the handle.
// Lifetime: no fiber may be inside a call when the pool is destroyed. Destruction joins the
//   threads, and so waits for functions that were abandoned. Do not destroy a pool on one of its
//   own threads.
// Errors:   kTimedOut, and kCancelled if the calling fiber is cancelled, as described at the calls.
//   kExhausted if the queue is full: shed load. What a function throws comes out of the call.
class HEDDLE_API OffloadPool {
 public:
  // Fails with kExhausted when the kernel gives no threads.
  static Result<OffloadPool> create(OffloadOptions options = {});

  OffloadPool(const OffloadPool&) = delete;
  OffloadPool& operator=(const OffloadPool&) = delete;
  OffloadPool(OffloadPool&& other) noexcept;
  OffloadPool& operator=(OffloadPool&& other) noexcept;
  ~OffloadPool();

  // Parks until `work()` has run on another thread, and returns its result, or throws what it
  // threw; a Result<T> is returned as such. `work` may be move-only, and may use the caller's
  // variables: once it has begun, the caller waits for its end, however late, and gets the result.
  // An interruption before that (the deadline, a cancellation) withdraws `work`, which then never
  // runs.
  template <std::invocable Work>
  auto run(Work work, Deadline deadline)
      -> Result<typename detail::Joined<std::invoke_result_t<Work>>::Value> {
    return perform_for_result(std::move(work), Late::kWait, deadline);
  }

  // The same, but an interruption also abandons a `work` that has begun: it goes on without the
  // caller, and its result is dropped. So `work` must own what it uses.
  template <std::invocable Work>
  auto run_abandonable(Work work, Deadline deadline)
      -> Result<typename detail::Joined<std::invoke_result_t<Work>>::Value> {
    return perform_for_result(std::move(work), Late::kAbandon, deadline);
  }

  std::size_t threads() const noexcept;

  // Any thread.
  OffloadStats stats() const;

 private:
  class State;
  enum class Late : bool { kWait, kAbandon };

  explicit OffloadPool(std::unique_ptr<State> state);
  State& state(const char* call = __builtin_FUNCTION()) const noexcept;

  template <typename Work>
  auto perform_for_result(Work work, Late late, Deadline deadline)
      -> Result<typename detail::Joined<std::invoke_result_t<Work>>::Value> {
    const auto state = detail::make_task_state(std::move(work));
    const Result<void> performed = perform(state, late, deadline);
    if (!performed) return performed.error();
    return detail::take_result(*state);
  }

  Result<void> perform(std::shared_ptr<detail::TaskState> work, Late late, Deadline deadline);

  std::unique_ptr<State> state_;
};

}  // namespace heddle
