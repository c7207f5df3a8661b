// What the environment asks of the guard. Read once, when the guard is loaded.
//
//   HEDDLE_GUARD         off (or unset), detect, cure
//   HEDDLE_GUARD_LOG     a file to append to, instead of standard error
//   HEDDLE_GUARD_FORMAT  text, json: one object per line
//   HEDDLE_GUARD_TALLY   a second log, always JSON: `heddle guard` makes its summary of it
#pragma once

#include <cstdint>

namespace heddle::guard {

enum class Mode : std::uint8_t { kOff, kDetect, kCure };
enum class Format : std::uint8_t { kText, kJson };

Mode mode();
Format log_format();

// Absolute paths, or null if there is none.
const char* log_path();
const char* tally_path();

// Complains about values that mean nothing; once, after the sinks can be written to.
void check_settings();

}  // namespace heddle::guard
