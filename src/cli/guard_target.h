// Whether the guard can be loaded into a program at all.
#pragma once

#include <string>

namespace heddle::cli {

// Why nothing will be seen of `program`, which is looked for in PATH: it is linked statically, or
// runs with the rights of its owner, so that LD_PRELOAD is ignored. "" if nothing is wrong, or if
// it cannot be told.
std::string obstacle_to_preloading(const std::string& program);

}  // namespace heddle::cli
