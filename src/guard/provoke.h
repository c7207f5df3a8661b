// Leaves entries on purpose, so that a program's owner can see whether it has the bug: what one
// task leaves in the queue harms another's connection.
//
// The entries are those of real operations of OpenSSL's that fail. They are left where in such a
// program another task's code can run: between the calls for two connections that one thread serves
// in turns, and within a callback of the program's. Never between a call and its verdict, nor
// where a program that empties the queue before its calls would not expect it. A thread that
// serves one connection after the other is left alone: no other task runs on it.
//
// Whether and what, at each such point, depends on HEDDLE_GUARD_PROVOKE, the number of the thread
// and that of the point in it alone: the same seed, the same points.
#pragma once

#include <cstdint>

#include "guard/calls.h"
#include "guard/library.h"

namespace heddle::guard {

// True if entries are to be left. Constant once the program runs.
// NOLINTNEXTLINE(bugprone-dynamic-static-initializers): it is constinit.
extern constinit bool provoking;

// Before the program starts.
void begin_provoking();

// In a forked child.
void begin_provoking_anew();

// A call for `ssl` begins.
void follow(Call call, const SSL* ssl);

// A call has come to an end, and the program knows its verdict, which is no failure.
void provoke_between(const Library& library, const void* site);

// A callback of the program's is about to return to OpenSSL.
void provoke_within(const Library& library, const void* site);

// How many times entries were left in this process, and whether there was a thread at all that
// serves connections in turns.
std::uint64_t times_provoked();
bool had_turns();

}  // namespace heddle::guard
