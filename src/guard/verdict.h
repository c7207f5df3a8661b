// What it means that a call has failed, and what the program is told about it.
#pragma once

#include <cstdint>

#include "guard/library.h"
#include "guard/places.h"
#include "guard/queue.h"
#include "guard/report.h"

namespace heddle::guard {

// A refusal is an entry of a call that OpenSSL does not even begin: its arguments are wrong, or it
// comes at the wrong time. It does not touch what SSL_want() tells, which is then an earlier
// call's: after SSL_read() wanted more, SSL_write() of less than nothing seems to want that too.
bool holds_refusal(const Entries& entries);

// True if `newest` is a refusal, and was not there when `newest_before` was the newest.
bool was_refused_since(const Entry& newest, const Entry& newest_before);

struct Verdict {
  Call call;  // The one that is judged or, where the program asks for the verdict, SSL_get_error().
  Outcome outcome;
  int seen;  // What SSL_get_error() tells the program.
  std::int64_t returned;
};

// What is known of a call that has failed.
struct Failure {
  Call call;  // SSL_get_error() if it is not known.
  std::int64_t returned;
  bool refused;              // It has left a refusal.
  unsigned long oldest = 0;  // The entry that SSL_get_error() goes by; 0: to be asked.
};

// `call` is who says it: the failed call itself, or SSL_get_error().
Verdict judge(const Library& library, Call call, const SSL* ssl, const Failure& failure);

// True if the entries do not mislead the program.
bool is_truthful(const Verdict& verdict);

// Counts a verdict, and reports the first of its kind at the place.
void count_outcome(const Library& library, Place& place, const SSL* ssl, const Verdict& verdict);

// True for 1, 10, 100 and so on: when counts are reported.
bool is_power_of_ten(std::uint64_t number);

}  // namespace heddle::guard
