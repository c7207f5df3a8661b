// Puts findings into words, as text for people and as JSON lines.
#pragma once

#include "guard/library.h"
#include "guard/places.h"
#include "guard/queue.h"
#include "guard/text.h"

namespace heddle::guard {

// The last call of this thread that found an empty queue: what lies there now came during or after.
struct Trail {
  Call call = Call::kRead;
  const SSL* ssl = nullptr;
  const void* site = nullptr;  // Null: there was no such call.
  bool left_entries = false;   // True: the queue was no longer empty when that call returned.
  // The connection whose last call has been judged already, when it returned.
  const SSL* judged = nullptr;
};

// A call that is about to be made although the queue is not empty.
struct Finding {
  const Library& library;
  const Place& place;
  const SSL* ssl;
  const Entries& entries;
  const Trail& trail;
};

void report_dirty(const Finding& finding);

// Where in OpenSSL an entry was pushed: " by FUNCTION() at FILE:LINE".
void write_pusher(Text& text, const char* function, const char* file, int line);

enum class Outcome : std::uint8_t {
  kSpurious,  // It looks dead to the program, and is not.
  kSaved,     // It would have, had the queue not been cleared before.
  kEnded,   // The peer has ended it in good order, and it looks as if it had failed, or would have.
  kFailed,  // It failed for a reason of its own.
};

struct Result {
  Call call;  // SSL_get_error(), if the verdict is not made at the place.
  Outcome outcome;
  std::int64_t returned;  // What the call returned, or SSL_get_error() was given.
  int wanted;             // SSL_want()
  int seen;               // What SSL_get_error() tells the program.
};

void report_outcome(const Place& place, const SSL* ssl, const Result& result);

// Only to JSON: how often so far. Else what a killed process had counted would be lost.
void report_count(const Place& place);

// Only to the tally: how often --provoke has left entries in this process.
void report_provoked(std::uint64_t times);

// At the end of a process.
void report_exit(bool is_first_process);

}  // namespace heddle::guard
