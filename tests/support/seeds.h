// Which seeds a simulated test is run with: each tree tries others (Meson's option `first_seed`).
#pragma once

#include <cstdint>
#include <string>

#include <gtest/gtest.h>

namespace heddle::test {

// What is added to every seed. $HEDDLE_FIRST_SEED overrules Meson's option, to try any seed in any
// tree.
std::uint64_t first_seed();

// The seeds [begin, end), moved by first_seed(). `step` apart.
template <typename Seed = std::uint64_t>
auto seeds(std::uint64_t begin, std::uint64_t end, std::uint64_t step = 1) {
  const std::uint64_t first = first_seed();
  return testing::Range(static_cast<Seed>(first + begin), static_cast<Seed>(first + end),
                        static_cast<Seed>(step));
}

// Names a test whose only parameter is the seed.
inline constexpr auto kSeedName = [](const auto& test) {
  return "seed_" + std::to_string(test.param);
};

}  // namespace heddle::test
