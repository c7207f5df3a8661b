// The end of a program that has a bug, with a line that says which.
#pragma once

namespace heddle {

// Prints one line and aborts: for bugs that have more to say than HEDDLE_ASSERT.
[[noreturn, gnu::cold, gnu::format(printf, 1, 2)]] void die(const char* format, ...) noexcept;

}  // namespace heddle
