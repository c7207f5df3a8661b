// What layers above may ask of the running fiber, if there is one: streams also
// work outside fibers, on transports that never make them wait.
#pragma once

#include "heddle/fiber.h"
#include "heddle/transport.h"

#include "fiber/scheduler.h"

namespace heddle::fiber {

// As Scheduler::breathe().
inline Wake breathe() {
  Scheduler* const scheduler = Scheduler::current_or_null();
  if (scheduler == nullptr || scheduler->running() == nullptr) return Wake::kReady;
  return scheduler->breathe();
}

// As Scheduler::give_way().
inline Wake give_way(Deadline deadline) {
  Scheduler* const scheduler = Scheduler::current_or_null();
  if (scheduler == nullptr || scheduler->running() == nullptr) return Wake::kReady;
  return scheduler->give_way(deadline);
}

// As this_fiber::release_unused_stack().
inline void release_unused_stack() {
  const Scheduler* const scheduler = Scheduler::current_or_null();
  if (scheduler != nullptr && scheduler->running() != nullptr) this_fiber::release_unused_stack();
}

}  // namespace heddle::fiber
