// What the environment asks of the guard. Read once, when the guard is loaded.
//
//   HEDDLE_GUARD         off (or unset), detect, cure
//   HEDDLE_GUARD_PROVOKE a number: leave entries on purpose, at points that it decides
//   HEDDLE_GUARD_LOG     a file to append to, instead of standard error
//   HEDDLE_GUARD_FORMAT  text, json: one object per line
//   HEDDLE_GUARD_TALLY   a second log, always JSON: `heddle guard` makes its summary of it
//
// A process of root's may lose the right to open these files, or their names in a chroot(). So
// `heddle guard` then leaves them open for the command as well, and says where:
//
//   HEDDLE_GUARD_LOG_FD, HEDDLE_GUARD_TALLY_FD  NUMBER:DEVICE:INODE
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace heddle::guard {

enum class Mode : std::uint8_t { kOff, kDetect, kCure };
enum class Format : std::uint8_t { kText, kJson };

Mode mode();
Format log_format();

// Whether entries are to be left on purpose, and the seed for that.
bool is_to_provoke();
std::uint64_t provoke_seed();

// A descriptor that may have been inherited, and which file it then is. -1 if there is none.
struct Inherited {
  int descriptor = -1;
  dev_t device = 0;
  ino_t inode = 0;
};

// A file to append to.
struct Destination {
  const char* path = nullptr;  // Absolute; null if there is no such file.
  Inherited inherited;
};

Destination log_file();
Destination tally_file();

// Complains about values that mean nothing; once, after the sinks can be written to.
void check_settings();

}  // namespace heddle::guard
