// The one line that a program with a bug ends with.
#include "base/die.h"

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace heddle {
namespace {

using NameOfRunning = const char* (*)() noexcept;
std::atomic<NameOfRunning> g_running = nullptr;

}  // namespace

void name_fibers_by(NameOfRunning running) noexcept {
  g_running.store(running, std::memory_order_relaxed);
}

void die(const char* format, ...) noexcept {
  std::va_list arguments;
  va_start(arguments, format);
  std::array<char, 512> text{};
  (void)std::vsnprintf(text.data(), text.size(), format, arguments);
  va_end(arguments);
  const NameOfRunning running = g_running.load(std::memory_order_relaxed);
  if (const char* const fiber = running != nullptr ? running() : nullptr) {
    (void)std::fprintf(stderr, "heddle: %s (in fiber '%s')\n", text.data(), fiber);
  } else {
    (void)std::fprintf(stderr, "heddle: %s\n", text.data());
  }
  std::abort();
}

}  // namespace heddle
