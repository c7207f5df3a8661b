// Fiber: the scheduler's record of one fiber.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/fiber.h"
#include "heddle/transport.h"

#include "fiber/foreign_state.h"
#include "fiber/sanitizer.h"
#include "fiber/stack.h"

namespace heddle::fiber {

class Scheduler;

// Purpose is what a fiber parks for, as in "waits for a mutex" and "waits to read from descriptor
// 7": for dumps.
struct Purpose {
  const char* text = "for another fiber";  // Of static lifetime.
  int descriptor = -1;                     // Named behind the text, if there is one.
};

// Context is something that can be switched to: a fiber, or the thread itself.
struct Context {
  void* where = nullptr;  // Boost's fcontext_t while it does not run.
  ForeignState foreign;
  sanitizer::ContextInfo sanitizer;
};

// Fiber lives from spawn until its entry has returned and its stack has been left.
class Fiber : public Context {
 public:
  enum class State : std::uint8_t { kReady, kRunning, kParked, kFinished };

  static constexpr std::size_t kNoTimer = SIZE_MAX;

  State state = State::kReady;
  Wake wake = Wake::kReady;       // Why it was last made ready.
  bool cancelled = false;         // And not shielded.
  bool cancelled_behind = false;  // While shielded: what `cancelled` will be again.
  unsigned shields = 0;           // How many this_fiber::shielded() it is inside.
  bool cancellable = true;        // Whether cancel() ends the present park.

  Deadline deadline = Deadline::never();  // While parked.
  Purpose purpose;                        // Likewise.
  std::size_t timer_index = kNoTimer;     // Kept by TimerQueue.

  Fiber* next_ready = nullptr;

  // All fibers of the scheduler, in spawn order; those of one scope, newest first.
  Fiber* previous = nullptr;
  Fiber* next = nullptr;
  Scope* scope = nullptr;
  Fiber* scope_previous = nullptr;
  Fiber* scope_next = nullptr;

  Scheduler* scheduler = nullptr;
  std::uint64_t id = 0;
  TimePoint spawned;
  Stack stack;
  std::string name;
  std::shared_ptr<detail::TaskState> task;
  void* inside = nullptr;  // The object inside whose call it is. Kept by tls, which alone reads it.
  std::vector<std::pair<unsigned, std::shared_ptr<void>>> locals;  // By FiberLocal id.

  // Precondition: there is one. Its destructor may use other FiberLocals, so it is not in the list
  // any more by then.
  void end_last_local() noexcept {
    const auto last = std::move(locals.back());
    locals.pop_back();
  }
};

}  // namespace heddle::fiber
