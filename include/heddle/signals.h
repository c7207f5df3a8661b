// Signals: SIGTERM and its like as events that a fiber waits for.
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
// A signal that comes again before anybody has waited for it counts once, real-time signals too.
// Several Signals, on any threads, may name one signal: one of them gets it.
//
// Fibers:   one fiber waits at a time.
// Threads:  a handler of this library's runs on any thread that does not block the signal, and
//   system calls that it interrupts are restarted (SA_RESTART); signal(7) names those that are
//   not, and fail with EINTR. The thread that makes a Signals stops blocking its signals, and
//   blocks again what it had blocked once none of the thread's Signals names it. So destroy it,
//   and assign to it, on that thread.
// Processes: nothing is blocked, so processes that are started with exec (posix_spawn(), system(),
//   fork() and exec) have the default action for these signals, whichever thread or offloaded
//   function starts them. A child of fork() has the handlers of before at once; it may destroy a
//   Signals that it inherits, and make its own. Between vfork() and exec a signal would be taken
//   for the parent's: block them meanwhile.
// Handlers: the first Signals to name a signal replaces its handler, and the end of the last
//   installs that again, unless somebody else has installed another one meanwhile. A signal that
//   has come by then, and that nobody has waited for, is sent to the process again.
// Moving:   as Runtime.
class HEDDLE_API Signals {
 public:
  // Fails with kExhausted when the kernel gives no descriptor, and with kInvalid for SIGKILL,
  // SIGSTOP and numbers that are none, and for what faults raise: SIGSEGV, SIGBUS, SIGFPE, SIGILL.
  static Result<Signals> create(Runtime& runtime, std::initializer_list<int> signals);

  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  Signals(Signals&& other) noexcept;
  Signals& operator=(Signals&& other) noexcept;
  ~Signals();

  // Parks until one of the signals comes and returns its number; of several that have come, the
  // lowest. Fails with kTimedOut or kCancelled.
  Result<int> wait(Deadline deadline);

 private:
  friend class io::SignalsFactory;
  class State;
  explicit Signals(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace heddle
