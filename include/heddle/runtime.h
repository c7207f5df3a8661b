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

// Measured: an OpenSSL 3.0 handshake touches 7 to 14 KiB of its fiber's stack, and RSA code for
// wider vector units touches more. Untouched pages cost address space only.
inline constexpr std::size_t kDefaultStackBytes = std::size_t{128} * 1024;

struct RuntimeOptions {
  Isolation isolation = Isolation::kIsolated;
  std::size_t stack_bytes = kDefaultStackBytes;

  // Installs, once per process, a SIGSEGV handler that names a fiber whose stack overflows into its
  // guard page. Other faults go to the handler that was installed before.
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
// Threads:  create, run and destroy it on one thread. post() and stop() may be called from any
//   thread, but not from a signal handler.
// Processes: after fork() only the process that made it may use it; the child may destroy it, with
//   its sockets, or execute another program. The two processes would take each other's events, so
//   any other use in the child ends the child with a message.
// Lifetime: it must outlive its sockets, listeners and fibers. Destroying it with fibers that have
//   not finished is a bug: stop() and run() first.
// Moving:   a Runtime is a handle, and so are Socket, Listener, Signals, OffloadPool, Stream and
//   SslObject. A handle may be moved at any time, also while fibers are inside its calls, which go
//   on. It must not be moved while another thread uses it (post(), stop()), or while something
//   refers to the handle itself: a stored `Runtime&` or `Stream&`, a BufferedReader or Stream on
//   top of it, a call that takes it by reference (serve(), http_connect()). A handle that was moved
//   from may be assigned to and destroyed; any other use ends the process with a message. Objects
//   that were made from a Runtime do not refer to the handle, and this_fiber::runtime() returns the
//   handle that it was moved to.
class HEDDLE_API Runtime {
 public:
  // Fails with kExhausted when the kernel gives no descriptor.
  static Result<Runtime> create(RuntimeOptions options = {});

  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  Runtime(Runtime&& other) noexcept;
  Runtime& operator=(Runtime&& other) noexcept;
  ~Runtime();

  // Starts a fiber outside any scope, which run() joins; otherwise the same as Scope::spawn().
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

  // Runs fibers until all have finished. Throws the first exception of an entry that no join()
  // has taken. Must not be called in a fiber.
  void run();

  // Runs `work()` once, soon, on the runtime's thread and outside any fiber: it may spawn and wake
  // fibers, but must not park. What it throws comes out of run(). Posted work does not keep run()
  // alive. Work left over when run() returns or throws runs in the next run(). `work` may be
  // move-only, and is destroyed on the runtime's thread.
  template <std::invocable Function>
  void post(Function work) {
    post_work(detail::make_work(std::move(work)));
  }

  // Cancels every fiber, present and future, for good, so that run() returns once they have
  // unwound.
  void stop();

  // As this_fiber::now() and after(). Between runs now() reads the clock.
  TimePoint now() const noexcept;
  Deadline after(Duration delay) const noexcept;
  template <typename Rep, typename Period>
  Deadline after(std::chrono::duration<Rep, Period> delay) const noexcept {
    return after(saturated(delay));
  }
  Isolation isolation() const noexcept;
  RuntimeStats stats() const noexcept;

  // Describes what each fiber does, oldest first, for a dump; to_string() makes one line of each.
  // The descriptor of a connected socket is followed by the address of its peer, that of a
  // listening socket by its own: "to read from descriptor 7 (192.0.2.1:443)". To be called on the
  // runtime's thread.
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

// Returns the runtime that runs the calling fiber, or the calling posted work. Called elsewhere, it
// ends the process with a message. The reference is to the handle, and valid until that is moved.
HEDDLE_API Runtime& runtime() noexcept;

}  // namespace this_fiber
}  // namespace heddle
