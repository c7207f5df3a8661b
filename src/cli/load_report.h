// What `heddle load` prints at its end: lines for people, or JSON.
#pragma once

#include <string>

#include "cli/load_plan.h"
#include "cli/load_tally.h"

namespace heddle::cli {

// Both end in a line break.
std::string load_as_text(const LoadPlan& plan, const LoadTally& tally);
std::string load_as_json(const LoadPlan& plan, const LoadTally& tally);

}  // namespace heddle::cli
