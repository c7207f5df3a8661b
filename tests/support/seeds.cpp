// Where the seeds begin: see seeds.h.
#include "support/seeds.h"

#include <cstdlib>

namespace heddle::test {

std::uint64_t first_seed() {
  const char* const wanted =
      std::getenv("HEDDLE_FIRST_SEED");  // NOLINT(concurrency-mt-unsafe): before main().
  return wanted == nullptr ? HEDDLE_FIRST_SEED : std::stoull(wanted);
}

}  // namespace heddle::test
