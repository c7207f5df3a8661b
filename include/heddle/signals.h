// Signals: SIGTERM and the like as events that a fiber waits for.
#pragma once

#include <initializer_list>
#include <memory>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"

namespace heddle {

class Runtime;

namespace io {
class SignalsFactory;
}  // namespace io

// Signals catches the given signals for the process and hands them to wait().
//
// A signal that comes again before a fiber has waited for it counts once, even a real-time signal.
// Several Signals, on any threads, may name the same signal: one of them gets it.
//
// Fibers:   one fiber waits at a time.
// Threads:  the library's handler runs on any thread that does not block the signal. System calls
//   that it interrupts are restarted (SA_RESTART), except for those that signal(7) lists, which
//   fail with EINTR. The thread that makes a Signals unblocks its signals. A signal that the thread
//   had blocked is blocked again once none of the thread's Signals names it. So destroy a Signals,
//   and assign to it, on that thread.
// Processes: nothing is blocked, so processes that are started with exec (posix_spawn(), system(),
//   fork() and exec) have the default action for these signals, whichever thread or offloaded
//   function starts them. A child of fork() has the previous handlers at once; it may destroy a
//   Signals that it inherits, and make its own. Between vfork() and exec, a signal to the child
//   would count as one to the parent: block the signals meanwhile.
// Handlers: the first Signals that names a signal replaces its handler, and destroying the last one
//   restores it, unless other code has installed another handler meanwhile. A signal that has come
//   by then, and for which no fiber has waited, is sent to the process again.
// Moving:   as Runtime.
class HEDDLE_API Signals {
 public:
  // Fails with kExhausted when the kernel gives no descriptor, and with kInvalid for SIGKILL,
  // SIGSTOP, numbers that are not signals, and the signals of faults: SIGSEGV, SIGBUS, SIGFPE,
  // SIGILL.
  static Result<Signals> create(Runtime& runtime, std::initializer_list<int> signals);

  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  Signals(Signals&& other) noexcept;
  Signals& operator=(Signals&& other) noexcept;
  ~Signals();

  // Parks until one of the signals comes, and returns its number; the lowest, if several have come.
  // Fails with kTimedOut or kCancelled.
  Result<int> wait(Deadline deadline);

 private:
  friend class io::SignalsFactory;
  class State;
  explicit Signals(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace heddle
