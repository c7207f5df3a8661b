// Reads the thread's error queue without changing it: entries and marks stay as they are.
#pragma once

#include <array>
#include <cstddef>

#include "guard/error_state.h"
#include "guard/library.h"
#include "guard/text.h"

namespace heddle::guard {

struct Entry {
  unsigned long code = 0;  // As OpenSSL packs library and reason.
  const char* file = "";
  int line = 0;
  const char* function = "";
  const char* data = "";
  std::size_t slot = kEntriesMax;  // Where in the queue it lies; kEntriesMax if that is not known.
};

// Oldest first. The strings belong to OpenSSL and are good until the queue changes.
struct Entries {
  std::array<Entry, kEntriesMax> entries{};
  std::size_t count = 0;
  bool complete = true;  // False: there may be more between the first and the last.
};

Entries read_queue(const Library& library);

// The oldest or the newest entry alone; code 0 if the queue is empty.
Entry read_oldest(const Library& library);
Entry read_newest(const Library& library);

// The queue of this thread; null if it can only be asked, as that of OpenSSL 4.
inline const ErrorState* state_of(const Library& library) {
  if (library.get_state == nullptr) return nullptr;
  return static_cast<const ErrorState*>(library.get_state());
}

// True if there are entries in the queue. On the way of every call.
inline bool holds_entries(const Library& library, const ErrorState* state) {
  if (state == nullptr) [[unlikely]]
    return library.peek_error() != 0;
  constexpr unsigned kLast = kEntriesMax - 1;
  const auto top = static_cast<unsigned>(state->top) & kLast;
  auto slot = static_cast<unsigned>(state->bottom) & kLast;
  while (slot != top) [[unlikely]] {
      slot = (slot + 1) & kLast;
      if ((state->flags[slot] & kDeadEntry) == 0) return true;
    }
  return false;
}

// Both, with code 0 if the queue is empty. `state` is state_of() the library.
struct Ends {
  Entry oldest;
  Entry newest;
};
Ends read_ends(const Library& library, const ErrorState* state);

// The entry that is being pushed: its code is not there yet.
Entry entry_in_making(const ErrorState& state);

// Puts a mark into a queue that has just been emptied, for is_marked_emptied() to find. Nobody but
// the guard sees it. Only OpenSSL 3 has room for it.
void mark_emptied(const Library& library);

// True if the mark is still there: nobody has emptied the queue or taken an entry out of it since.
bool is_marked_emptied(const Library& library);

// Whether both are one entry, and not only two of one kind.
bool same(const Entry& left, const Entry& right);

// What OpenSSL calls the library that pushed `code`, and the reason; "" if it has no name for it.
const char* library_text(const Library& library, unsigned long code);
const char* reason_text(const Library& library, unsigned long code);

}  // namespace heddle::guard
