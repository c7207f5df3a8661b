// What may be read: tables in other people's files have counts and offsets that need not be right,
// and a guard must not end its host for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace heddle::guard {

// Memory is a range that can be read. An empty one holds nothing.
struct Memory {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;

  [[nodiscard]] bool holds(std::uintptr_t address, std::size_t size) const {
    return address >= start && address <= end && size <= end - address;
  }

  // How many of `T` are there from `address` on; 0 too if they would not be aligned.
  template <typename T>
  [[nodiscard]] std::size_t count_from(std::uintptr_t address) const {
    if (!holds(address, sizeof(T)) || address % alignof(T) != 0) return 0;
    return (end - address) / sizeof(T);
  }

  // The text that begins at `address`, or null if it does not end in here.
  [[nodiscard]] const char* text_at(std::uintptr_t address) const {
    if (!holds(address, 1)) return nullptr;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): that is how ELF stores pointers.
    const auto* text = reinterpret_cast<const char*>(address);
    return std::memchr(text, 0, end - address) == nullptr ? nullptr : text;
  }
};

}  // namespace heddle::guard
