// What the guard found in all processes of a command, from the JSON lines they left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cli/guard_files.h"

namespace heddle::cli {

struct GuardSummary {
  std::size_t places = 0;     // 0: nothing was found.
  bool watched = false;       // False: there was nothing that it could be found in.
  std::uint64_t changed = 0;  // Verdicts that an entry of --provoke has changed.
  std::string text;           // Lines, to be printed as they are.
};

// Reads the tally. Lines that are cut short, as by a full disk, are left out.
// `provoked`: whether --provoke was given.
GuardSummary summarize(const TallyFile& file, bool provoked);

}  // namespace heddle::cli
