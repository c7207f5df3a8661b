// What fibers are doing, in words.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "heddle/fiber.h"

#include "fiber/scheduler.h"

namespace heddle {
namespace {

std::string in_seconds(Duration duration) {
  std::array<char, 32> text{};
  const double seconds = std::chrono::duration<double>(duration).count();
  (void)std::snprintf(text.data(), text.size(), "%.3f s", seconds);
  return text.data();
}

void describe_wait(const fiber::Fiber& fiber, TimePoint now, FiberInfo& info) {
  info.purpose = fiber.purpose.text;
  if (fiber.purpose.descriptor >= 0) {
    info.descriptor = fiber.purpose.descriptor;
    info.purpose.append(" descriptor ").append(std::to_string(fiber.purpose.descriptor));
  }
  if (!fiber.deadline.is_never()) {
    info.remaining = std::max(Duration::zero(), fiber.deadline.time() - now);
  }
}

FiberInfo describe(const fiber::Fiber& fiber, TimePoint now) {
  using State = fiber::Fiber::State;
  FiberInfo info{.id = fiber.id, .name = fiber.name, .age = now - fiber.spawned};
  info.cancelled = fiber.cancelled || fiber.cancelled_behind;
  info.state = fiber.state == State::kRunning  ? FiberInfo::State::kRunning
               : fiber.state == State::kParked ? FiberInfo::State::kWaiting
                                               : FiberInfo::State::kReady;
  if (info.state == FiberInfo::State::kWaiting) describe_wait(fiber, now, info);
  return info;
}

}  // namespace

std::vector<FiberInfo> fiber::Scheduler::describe_fibers() const {
  const TimePoint now = source_.look_at_clock();
  std::vector<FiberInfo> all;
  all.reserve(live_);
  for (const Fiber* fiber = first_; fiber != nullptr; fiber = fiber->next) {
    all.push_back(describe(*fiber, now));
  }
  return all;
}

std::string to_string(const FiberInfo& fiber) {
  std::string line("#");
  line.append(std::to_string(fiber.id)).append(" '").append(fiber.name).append("', ");
  line.append(in_seconds(fiber.age)).append(" old, ");
  if (fiber.cancelled) line += "cancelled, ";
  switch (fiber.state) {
    case FiberInfo::State::kReady:
      return line + "ready";
    case FiberInfo::State::kRunning:
      return line + "running";
    case FiberInfo::State::kWaiting:
      break;
  }
  line.append("waits ").append(fiber.purpose);
  if (fiber.remaining) line.append(", ").append(in_seconds(*fiber.remaining)).append(" left");
  return line;
}

}  // namespace heddle
