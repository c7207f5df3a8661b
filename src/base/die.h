// The end of a program that has a bug, with a line that says which.
#pragma once

namespace heddle {

// Prints one line and aborts: for what a program does wrong. The line names the call, what is wrong
// with it and the remedy; the running fiber's name is added behind it.
[[noreturn, gnu::cold, gnu::format(printf, 1, 2)]] void die(const char* format, ...) noexcept;

// Says how to get the running fiber's name: null outside fibers.
void name_fibers_by(const char* (*running)() noexcept) noexcept;

}  // namespace heddle
