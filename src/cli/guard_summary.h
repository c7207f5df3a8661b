// What the guard found in all processes of a command, from the JSON lines they left.
#pragma once

#include <cstddef>
#include <string>

#include "cli/guard_files.h"

namespace heddle::cli {

struct GuardSummary {
  std::size_t places = 0;  // 0: nothing was found.
  bool watched = false;    // False: there was nothing that it could be found in.
  std::string text;        // Lines, to be printed as they are.
};

// Reads the tally. Lines that are cut short, as by a full disk, are left out.
GuardSummary summarize(const TallyFile& file);

}  // namespace heddle::cli
