// What happens around a watched call. The clean path is inline, in intercept.cpp's functions.
#pragma once

#include <cstdint>

#include "guard/library.h"
#include "guard/report.h"

namespace heddle::guard {

// NOLINTNEXTLINE(bugprone-dynamic-static-initializers): it is constinit.
extern constinit thread_local Trail trail;

// The place of a call before which the queue was emptied, and which did not fail: the entry would
// have stayed for the next verdict. Null if there is none.
// NOLINTNEXTLINE(bugprone-dynamic-static-initializers): it is a constant null at first.
extern constinit thread_local Place* pending;

// A call that was entered with entries in the queue.
struct Visit {
  Place* place = nullptr;
  Entry newest;  // The last that was there.
  bool cleared = false;
  bool own = false;  // What is there was left by a call for the same SSL.
};

// `site` is where it is called from, `state` the queue, if it can be seen.
Visit enter_dirty(const Library& library, Call call, const SSL* ssl, const void* site,
                  const ErrorState* state);
void leave_dirty(const Library& library, const Visit& visit, const SSL* ssl, Call call,
                 const void* site, std::int64_t returned);

// After a call that was entered with an empty queue: notes if it left something.
void leave_clean(const Library& library, Call call, const SSL* ssl, const void* site);

// True if OpenSSL itself makes the call, as a part of one that is watched already: in most builds
// its functions find each other as the program does, and so find the guard.
bool is_nested(const Library& library, Call call, const SSL* ssl, const void* site);

// Looks at a verdict of failure, which may be so because the queue holds entries: if the connection
// is healthy, they came during the call or after it, or were left before it by the same SSL.
// `result` is what the program has asked about. True if OpenSSL is to be asked anew.
bool settle_verdict(const Library& library, const SSL* ssl, int result, const void* site);

// A verdict while there is a pending place: counts if the connection would have been called dead
// without the cure.
void settle_pending(const Library& library, const SSL* ssl, int result);

// Says that a program called a function that its OpenSSL does not have.
void complain_of_missing(Call call);

}  // namespace heddle::guard
