// Reads the thread's error queue without changing it: entries and marks stay as they are.
#pragma once

#include <array>
#include <cstddef>

#include "guard/library.h"
#include "guard/text.h"

namespace heddle::guard {

inline constexpr std::size_t kEntriesMax = 16;  // ERR_NUM_ERRORS

struct Entry {
  unsigned long code = 0;  // As OpenSSL packs library and reason.
  const char* file = "";
  int line = 0;
  const char* function = "";
  const char* data = "";
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
