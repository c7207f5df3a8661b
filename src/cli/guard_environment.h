// What the environment of a watched command says: that the guard is preloaded, and what it is to
// do.
#pragma once

#include <string>
#include <string_view>

namespace heddle::cli {

// Puts `library` into the list that LD_PRELOAD has: first, but behind a sanitizer's runtime, which
// must come before everything else.
std::string with_library(std::string_view preloaded, std::string_view library);

// Adds to ASAN_OPTIONS that AddressSanitizer's runtime does not insist on being the first library.
// Else a program with that runtime, which may be any child of the command, ends at once.
std::string with_any_order(std::string_view asan_options);

}  // namespace heddle::cli
