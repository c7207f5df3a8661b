// Whether any call came: see seen.h.
#include "guard/seen.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <new>

#include "guard/settings.h"
#include "guard/sink.h"
#include "guard/stamp.h"
#include "guard/text.h"

namespace heddle::guard {
namespace {

constinit std::atomic<bool> watched_call{false};
constinit std::atomic<bool> unwatched_call{false};

// In memory that forked children share. Null until the start, and if there is no memory.
constinit std::atomic<std::atomic<bool>*> family_call{nullptr};

void tell_tally(const char* event) {
  std::array<char, 512> room{};
  Text text(room);
  write_stamp_json(text, event);
  text << "}\n";
  write_tally(text.view());
}

}  // namespace

void begin_seeing() {
  if (mode() == Mode::kOff) return;
  tell_tally("start");
  void* memory = mmap(nullptr, sizeof(std::atomic<bool>), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return;
  // Calls of other libraries' constructors may have come before.
  family_call.store(new (memory) std::atomic<bool>(watched_call.load()));
}

void begin_seeing_anew() {
  watched_call.store(false);
  unwatched_call.store(false);
}

void see_call(bool watched) {
  if (mode() == Mode::kOff) return;
  std::atomic<bool>& seen = watched ? watched_call : unwatched_call;
  if (seen.load(std::memory_order_relaxed) || seen.exchange(true) || !watched) return;
  if (std::atomic<bool>* const family = family_call.load(); family != nullptr) family->store(true);
  tell_tally("watched");
}

bool saw_a_call() {
  return watched_call.load(std::memory_order_relaxed);
}

bool saw_an_unwatched_call() {
  return unwatched_call.load(std::memory_order_relaxed);
}

bool family_saw_a_call() {
  const std::atomic<bool>* const family = family_call.load();
  return saw_a_call() || (family != nullptr && family->load());
}

}  // namespace heddle::guard
