// Leakers: real OpenSSL operations that leave entries in the thread's error queue, or wipe it.
#pragma once

#include <memory>
#include <span>

#include "heddle/stale.h"

namespace heddle::stale {

// Leaker is one operation that is about to happen. No entry is ever pushed by hand.
class Leaker {
 public:
  Leaker() = default;
  Leaker(const Leaker&) = delete;
  Leaker& operator=(const Leaker&) = delete;
  virtual ~Leaker() = default;

  // All that has to be there before: connections, mostly. Does not park; what it
  // leaves is dropped.
  virtual void prepare(Stack& /*stack*/) {}

  // The operation. Does not read its errors, as careless code does not. Returns everything but the
  // fiber.
  virtual Origin leave() = 0;
};

// The origin of the call on the next line.
Origin next_line(const char* operation, const char* file = __builtin_FILE(),
                 int line = __builtin_LINE());

struct LeakerKind {
  const char* name;
  const char* description;
  std::unique_ptr<Leaker> (*make)();
  bool through_stack = false;  // What it leaves depends on the stack under test.
};

// Operations on connections; on files, keys and certificates; all of them.
std::span<const LeakerKind> connection_leakers();
std::span<const LeakerKind> crypto_leakers();
std::span<const LeakerKind> leaker_kinds();

template <typename Kind>
std::unique_ptr<Leaker> make_leaker() {
  return std::make_unique<Kind>();
}

}  // namespace heddle::stale
