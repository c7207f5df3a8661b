// What the guard found in all processes of a command, from the JSON lines they left.
#pragma once

#include <cstddef>
#include <string>

namespace heddle::cli {

struct GuardSummary {
  std::size_t places = 0;  // 0: nothing was found.
  std::string text;        // Lines, to be printed as they are.
};

// Reads the tally file at `path`. Lines that are cut short, as by a full disk, are left out.
GuardSummary summarize(const std::string& path);

}  // namespace heddle::cli
