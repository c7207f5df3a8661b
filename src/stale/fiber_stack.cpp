// Fibers for the built-in stacks.
#include "stale/fiber_stack.h"

#include <utility>

#include "heddle/fiber.h"

namespace heddle::stale {

void FiberStack::run(std::function<void()> entry) {
  runtime_ = Runtime::create({.isolation = isolation_, .report_stack_overflow = false}).value();
  (void)runtime_->spawn("victim", std::move(entry)).value();
  runtime_->run();
  runtime_.reset();
}

void FiberStack::spawn(const std::string& name, std::function<void()> entry) {
  (void)runtime_->spawn(name, std::move(entry)).value();
}

void FiberStack::yield() {
  (void)this_fiber::yield();
}

}  // namespace heddle::stale
