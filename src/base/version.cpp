// The version of the library that runs: see heddle/version.h.
#include "heddle/version.h"

namespace heddle {

const char* version() noexcept {
  return HEDDLE_VERSION_STRING;
}

}  // namespace heddle
