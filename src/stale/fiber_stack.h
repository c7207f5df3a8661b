// What the built-in stacks have in common: this library's fibers.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "heddle/runtime.h"
#include "heddle/stale.h"

namespace heddle::stale {

class FiberStack : public Stack {
 public:
  explicit FiberStack(Isolation isolation) : isolation_(isolation) {}

  Isolation claims() const final { return isolation_; }
  void run(std::function<void()> entry) final;
  void spawn(const std::string& name, std::function<void()> entry) final;
  void yield() final;
  bool switches_inside() const final { return true; }

 private:
  const Isolation isolation_;
  std::optional<Runtime> runtime_;  // While run() runs.
};

}  // namespace heddle::stale
