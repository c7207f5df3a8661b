// What was found, once per place: the call, where it is in the program, and who pushed the oldest
// entry, in OpenSSL and in the program. Lock-free, and per process: after a fork the child begins
// with none.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "guard/calls.h"
#include "guard/queue.h"

namespace heddle::guard {

struct Place {
  // Written once, before `ready`.
  std::atomic<std::uint64_t> key{0};
  std::atomic<bool> ready{false};
  pid_t process = 0;
  unsigned number = 0;  // From 1 on, in each process.
  Call call = Call::kRead;
  const void* site = nullptr;
  unsigned long code = 0;
  int line = 0;
  std::array<char, 96> file{};
  std::array<char, 64> function{};

  std::atomic<std::uint64_t> times{0};
  // Of these: OpenSSL only wanted to be called again, but SSL_get_error() calls the connection
  // dead;
  std::atomic<std::uint64_t> spurious{0};
  // would have said so without the cure;
  std::atomic<std::uint64_t> saved{0};
  // looks as if it had failed, or would have without the cure, but the peer has ended it;
  std::atomic<std::uint64_t> ended{0};
  // or it failed for a reason of its own, which the stale entry may hide.
  std::atomic<std::uint64_t> failed{0};
};

// A call that meets an entry.
struct Meeting {
  Call call;
  const void* site;
  const Entry& oldest;
  std::uint64_t leaker;  // leaker_of() the entry; if that is 0, what else is known.
  std::uint64_t victim;  // python_place()
};

// The place of this meeting, new or known; null if there are too many.
Place* place_of(const Meeting& meeting);

// Calls `visit(place, data)` for each place of this process.
using PlaceVisitor = void (*)(const Place&, void*);
void for_each_place(PlaceVisitor visit, void* data);

// How many calls found no room in the table.
std::uint64_t calls_without_place();

}  // namespace heddle::guard
