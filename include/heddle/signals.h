// Signals: SIGTERM and its like as events that a fiber waits for (signalfd(2)).
#pragma once

#include <initializer_list>
#include <memory>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"

namespace heddle {

class Runtime;

namespace io {
class Pollable;
class SignalsFactory;
}  // namespace io

// Signals blocks the given signals for the calling thread and hands them to wait().
//
// Fibers:   one fiber waits at a time. Several Signals may name one signal; any one of them gets
//   it.
// Threads:  create it before other threads start, or they will take the signals. Destroy it, and
//   assign to it, on the thread that made it. Processes that the thread starts inherit the blocked
//   signals.
// Moving:   as Runtime.
// Lifetime: destruction unblocks the signals that were not blocked before, once no other Signals
//   of the thread names them.
class HEDDLE_API Signals {
 public:
  // Fails with kExhausted when the kernel gives no descriptor.
  static Result<Signals> create(Runtime& runtime, std::initializer_list<int> signals);

  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  Signals(Signals&& other) noexcept;
  Signals& operator=(Signals&& other) noexcept;
  ~Signals();

  // Parks until one of the signals comes and returns its number. Fails with
  // kTimedOut or kCancelled.
  Result<int> wait(Deadline deadline);

 private:
  friend class io::SignalsFactory;
  class Mask;
  Signals(std::unique_ptr<io::Pollable> pollable, std::unique_ptr<Mask> restore);

  std::unique_ptr<io::Pollable> pollable_;
  std::unique_ptr<Mask> restore_;
};

}  // namespace heddle
