// Which process this is: see process.h.
#include "guard/process.h"

#include <atomic>

#include <unistd.h>

namespace heddle::guard {
namespace {

constinit std::atomic<pid_t> known_process{0};

}  // namespace

pid_t own_process() {
  const pid_t known = known_process.load(std::memory_order_relaxed);
  if (known != 0) [[likely]]
    return known;
  const pid_t process = getpid();
  known_process.store(process, std::memory_order_relaxed);
  return process;
}

void forget_own_process() {
  known_process.store(0, std::memory_order_relaxed);
}

}  // namespace heddle::guard
