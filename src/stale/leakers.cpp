// All leakers.
#include "stale/leakers.h"

#include <vector>

namespace heddle::stale {

Origin next_line(const char* operation, const char* file, int line) {
  return {.fiber = "", .operation = operation, .file = file, .line = line + 1};
}

std::span<const LeakerKind> leaker_kinds() {
  static const std::vector<LeakerKind> kinds = [] {
    std::vector<LeakerKind> all;
    for (const auto some : {connection_leakers(), crypto_leakers()}) {
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }();
  return kinds;
}

}  // namespace heddle::stale
