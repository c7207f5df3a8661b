// Byte ranges (RFC 9110, 14).
#pragma once

#include <cstdint>
#include <string_view>

namespace heddle::http {

struct ByteRange {
  enum class Kind : std::uint8_t {
    kWhole,          // Answer as if no range had been asked for.
    kPart,           // `length` bytes from `offset`; at least one.
    kUnsatisfiable,  // Nothing of it lies within the file.
  };

  Kind kind = Kind::kWhole;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

// Reads a Range field for a file of `size` bytes. What is malformed, in another
// unit, or asks for several ranges is answered with the whole file, as RFC 9110
// allows: each of our answers has one part.
ByteRange parse_range(std::string_view field, std::uint64_t size) noexcept;

}  // namespace heddle::http
