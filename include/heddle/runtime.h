// Runtime: one thread's world of fibers, timers and epoll events.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/fiber.h"
#include "heddle/isolation.h"
#include "heddle/result.h"

namespace heddle {

namespace io {
class Reactor;
class Resolver;
class RuntimeAccess;
}  // namespace io

// Measured: an OpenSSL 3.0 handshake touches 7 to 14 KiB of its fiber's stack, and
// RSA code for wider vector units more. Untouched pages cost address space only.
inline constexpr std::size_t kDefaultStackBytes = std::size_t{128} * 1024;

struct RuntimeOptions {
  Isolation isolation = Isolation::kIsolated;
  std::size_t stack_bytes = kDefaultStackBytes;

  // Installs, once per process, a SIGSEGV handler that names the fiber which ran
  // over its stack's guard page. Other faults go to the handler that was there.
  bool report_stack_overflow = true;
};

struct RuntimeStats {
  std::size_t fibers = 0;         // Not finished.
  std::uint64_t switches = 0;     // Between contexts, since the runtime was created.
  std::uint64_t polls = 0;        // epoll_wait() calls.
  std::uint64_t exchanges = 0;    // Switches at which an error queue had to be moved.
  std::size_t stacks_pooled = 0;  // Free, kept for the next fibers.
};

// Runtime owns a scheduler and a reactor. Several may exist, each on its own
// thread; they share nothing.
//
// Threads:  create, run and destroy it on one thread. post() and stop() may be
//   called from any thread, and from no signal handler.
// Processes: after fork() only the process that made it may use it; the child may destroy it, with
//   its sockets, or execute another program. Else the two would take each other's events away, so
//   a use in another process ends that process and says so.
// Lifetime: outlives its sockets, listeners and fibers. Destroying it with fibers
//   that have not finished is a bug: stop() and run() first.
// Moving:   a Runtime is a handle, and so are Socket, Listener, Signals, OffloadPool, Stream and
//   SslObject. A handle may be moved at any time, also while fibers are inside its calls, which go
//   on; but not while another thread uses it (post(), stop()), nor while something refers to the
//   handle itself: a `Runtime&` or `Stream&` that was kept, a BufferedReader or Stream over it, a
//   call that got it by reference (serve(), http_connect()). One that was moved from may be
//   assigned to and destroyed; any other use ends the process, and says so. What was made of a
//   Runtime does not refer to the handle, and this_fiber::runtime() is the one that it was moved
//   to.
class HEDDLE_API Runtime {
 public:
  // Fails with kExhausted when the kernel gives no descriptor.
  static Result<Runtime> create(RuntimeOptions options = {});

  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  Runtime(Runtime&& other) noexcept;
  Runtime& operator=(Runtime&& other) noexcept;
  ~Runtime();

  // Starts a fiber outside any scope: run() joins it. As Scope::spawn().
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

  // Runs fibers until all have finished. Throws the first exception that an entry
  // threw and nobody could join. Not from a fiber.
  void run();

  // Runs `work` on the runtime's thread, outside any fiber, soon: it may spawn and
  // wake but not park. What it throws comes out of run(). Posted work does not keep run() alive.
  // What is left over when run() returns, or throws, runs in the next run().
  template <std::invocable Function>
  void post(Function work) {
    post_work(detail::make_work(std::move(work)));
  }

  // Cancels every fiber, present and future, so that run() returns once they have
  // unwound. For good.
  void stop();

  // As this_fiber::now() and after(); between runs by the clock.
  TimePoint now() const noexcept;
  Deadline after(Duration delay) const noexcept;
  template <typename Rep, typename Period>
  Deadline after(std::chrono::duration<Rep, Period> delay) const noexcept {
    return after(saturated(delay));
  }
  Isolation isolation() const noexcept;
  RuntimeStats stats() const noexcept;

  // What each fiber does, oldest first, for a dump: to_string() makes a line of each. A descriptor
  // that is a connected socket is followed by its peer's address, a listening one by its own: "to
  // read from descriptor 7 (192.0.2.1:443)". On the runtime's thread.
  std::vector<FiberInfo> fibers() const;

 private:
  friend class io::RuntimeAccess;
  class State;

  explicit Runtime(std::unique_ptr<State> state);
  State& state(const char* call = __builtin_FUNCTION()) const noexcept;
  Result<void> start(const SpawnOptions& options, const std::shared_ptr<detail::TaskState>& task);
  void post_work(std::unique_ptr<detail::Work> work);

  std::unique_ptr<State> state_;
};

namespace this_fiber {

// The runtime that runs the calling fiber, or the calling work that was posted to it. Elsewhere it
// ends the process, and says so. A reference to the handle: until that is moved.
HEDDLE_API Runtime& runtime() noexcept;

}  // namespace this_fiber
}  // namespace heddle
