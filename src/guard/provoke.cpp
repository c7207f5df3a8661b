// Leaves entries on purpose: see provoke.h.
#include "guard/provoke.h"

#include <array>
#include <atomic>

#include "guard/errno_kept.h"
#include "guard/failures.h"
#include "guard/hash.h"
#include "guard/origin.h"
#include "guard/queue.h"
#include "guard/report.h"
#include "guard/settings.h"
#include "guard/verdict.h"

namespace heddle::guard {

constinit bool provoking = false;

namespace {

// At one of so many points.
constexpr std::uint64_t kRarity = 4;

constinit std::atomic<std::uint64_t> threads{0};
constinit std::atomic<std::uint64_t> times{0};
constinit std::atomic<bool> turns{false};

// What a thread has done so far.
struct Course {
  std::uint64_t thread = 0;  // Its number, from 1 on.
  std::uint64_t points = 0;
  bool serves_in_turns = false;
  const SSL* last = nullptr;
  // Some of the connections that had calls before the last one.
  std::array<const SSL*, 32> before{};
  unsigned collisions = 0;
};

constinit thread_local Course course;

// A number for this point, which is the same in each run.
std::uint64_t draw() {
  if (course.thread == 0) course.thread = ++threads;
  return mixed(mixed(mixed(0, provoke_seed()), course.thread), ++course.points);
}

void provoke(const Library& library, const void* site) {
  if (!course.serves_in_turns || holds_entries(library, state_of(library))) return;
  const std::uint64_t drawn = draw();
  if (drawn % kRarity != 0) return;
  {
    const PushesIgnored ignored;
    fail_at_something(library, drawn / kRarity);
  }
  const Entries entries = read_queue(library);
  for (std::size_t i = 0; i < entries.count; ++i) note_provoked(entries.entries[i], site);
  const std::uint64_t now = ++times;
  if (is_power_of_ten(now)) report_provoked(now);
}

}  // namespace

void begin_provoking() {
  provoking = mode() != Mode::kOff && is_to_provoke();
}

void begin_provoking_anew() {
  times.store(0);
  turns.store(false);
  course = {};
}

namespace {

const SSL*& slot_of(const SSL* ssl) {
  const std::uint64_t hash = mixed(0, reinterpret_cast<std::uintptr_t>(ssl));
  return course.before[hash % course.before.size()];
}

void remember(const SSL* ssl) {
  // A known one stays for a while, however many there are: its turn may come late.
  constexpr unsigned kPatience = 64;
  const SSL*& slot = slot_of(ssl);
  if (slot == nullptr || ++course.collisions % kPatience == 0) slot = ssl;
}

}  // namespace

// A connection whose calls go on after another's: this thread serves them in turns. An SSL that
// begins with a handshake is a new one, whatever was at its address before.
void follow(Call call, const SSL* ssl) {
  if (course.last == ssl) return;
  const SSL*& slot = slot_of(ssl);
  const bool is_known = slot == ssl;
  if (is_known) slot = nullptr;
  if (is_known && !clears_the_queue_itself(call)) {
    course.serves_in_turns = true;
    turns.store(true, std::memory_order_relaxed);
  }
  if (course.last != nullptr) remember(course.last);
  course.last = ssl;
}

void provoke_between(const Library& library, const void* site) {
  // OpenSSL's own calls are parts of one that has not ended.
  if (!library.watched || is_openssl_code(site)) return;
  const ErrnoKept errno_kept;
  provoke(library, site);
}

void provoke_within(const Library& library, const void* site) {
  if (!library.watched) return;
  const ErrnoKept errno_kept;
  provoke(library, site);
}

std::uint64_t times_provoked() {
  return times.load(std::memory_order_relaxed);
}

bool had_turns() {
  return turns.load(std::memory_order_relaxed);
}

}  // namespace heddle::guard
