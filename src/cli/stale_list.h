// What `heddle stale --list` prints.
#pragma once

#include <span>
#include <string>

#include "heddle/stale.h"

namespace heddle::cli {

// The parts that scenarios are made of, and the ids of `scenarios`. Both end in a line break.
std::string list_as_text(std::span<const stale::Scenario> scenarios);
std::string list_as_json(std::span<const stale::Scenario> scenarios);

}  // namespace heddle::cli
