// Whether any call came, and whether it could be watched: to tell a clean program from an unseen
// one.
#pragma once

namespace heddle::guard {

// At the start of a program, before it forks.
void begin_seeing();

// In a forked child, which has seen nothing yet.
void begin_seeing_anew();

// Notes a call. Called for each first call into an OpenSSL, and some more: the others take a
// shorter way. The first that is watched goes to the tally at once, since not every program ends
// in a way that lets it tell.
void see_call(bool watched);

// In this process.
bool saw_a_call();

// True if calls of this process went to an OpenSSL that is not watched.
bool saw_an_unwatched_call();

// In this process, one it was forked from, or one that was forked from it.
bool family_saw_a_call();

}  // namespace heddle::guard
