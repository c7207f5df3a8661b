// Who pushed an entry: the call chain, the Python stack and the greenlet at the moment of the push.
//
// OpenSSL says where an entry comes from by ERR_set_debug(), for each that it pushes. The guard is
// put before that function. libssl and everybody else find it so; libcrypto itself only if it was
// built to find its own functions as others do, which Debian 12's was. Where it was not, the next
// best is the watched call that returned with entries in a queue that had been empty.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "guard/python.h"
#include "guard/queue.h"

namespace heddle::guard {

enum class How : std::uint8_t {
  kPushed,    // This is who pushed the entry.
  kCalled,    // This is who made the call that left it.
  kProvoked,  // The guard left it: see provoke.h.
};

struct Origin {
  How how = How::kPushed;
  std::uint8_t frame_count = 0;
  std::uint8_t first_outside = 0;  // The first frame that is not OpenSSL's.
  // Which entry it is: OpenSSL keeps a copy of the file name for each.
  const char* file = nullptr;
  int line = 0;
  std::uint64_t leaker = 0;  // The same for what comes from the same line of the program.
  Greenlet greenlet;
  std::array<std::uintptr_t, 24> frames;
  PythonStack python;
};

// The origin of an entry of this thread's queue, or null if it is not known.
const Origin* origin_of(const Entry& entry);

// A number for the origin; 0 if it is not known.
std::uint64_t leaker_of(const Entry& entry);

// The call at `site` has left `oldest`, the first entry of a queue that had been empty. To be used
// where no origin is known.
void note_call(const Entry& oldest, const void* site);

// Around a call at `site` that may leave an entry: if the queue is empty before and not after, and
// nobody has seen who pushed it, the call is noted.
class CallWatch {
 public:
  explicit CallWatch(const void* site);
  ~CallWatch();
  CallWatch(const CallWatch&) = delete;
  CallWatch& operator=(const CallWatch&) = delete;

 private:
  const void* site_ = nullptr;  // Null: nothing is looked for.
};

// The guard has left `entry` itself, after the call at `site`.
void note_provoked(const Entry& entry, const void* site);

// As long as this lives, pushes of this thread are not noted.
class PushesIgnored {
 public:
  PushesIgnored();
  ~PushesIgnored();
  PushesIgnored(const PushesIgnored&) = delete;
  PushesIgnored& operator=(const PushesIgnored&) = delete;
};

// True if OpenSSL's own code is at `site`, or the guard's.
bool is_openssl_code(const void* site);

// Before the program starts.
void begin_noting_origins();

}  // namespace heddle::guard
