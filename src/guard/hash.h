// Numbers for places: what is the same gives the same, and what is not hardly ever does.
#pragma once

#include <cstdint>

namespace heddle::guard {

// As in splitmix64: one multiplication for each word.
constexpr std::uint64_t mixed(std::uint64_t hash, std::uint64_t word) {
  hash = (hash ^ word) * 0x9e3779b97f4a7c15U;
  return hash ^ (hash >> 32);
}

}  // namespace heddle::guard
