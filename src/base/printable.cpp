// Decoding UTF-8 as far as needed to escape it.
#include "base/printable.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace heddle {
namespace {

struct Character {
  std::size_t bytes;  // 1 if it is no UTF-8.
  std::uint32_t code;
  bool is_valid;
};

std::uint32_t byte_at(std::string_view text, std::size_t at) {
  return static_cast<unsigned char>(text[at]);
}

// Precondition: `text` is not empty.
Character first_of(std::string_view text) {
  constexpr Character kInvalid = {.bytes = 1, .code = 0, .is_valid = false};
  const std::uint32_t lead = byte_at(text, 0);
  if (lead < 0x80) return {.bytes = 1, .code = lead, .is_valid = true};
  const std::size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < size) return kInvalid;
  std::uint32_t code = lead & (0x7fU >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte_at(text, i) & 0xc0U) != 0x80) return kInvalid;
    code = code << 6 | (byte_at(text, i) & 0x3fU);
  }
  constexpr std::array<std::uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < kSmallest.at(size) || is_surrogate || code > 0x10ffff) return kInvalid;
  return {.bytes = size, .code = code, .is_valid = true};
}

bool deceives(std::uint32_t code) {
  struct Range {
    std::uint32_t first;
    std::uint32_t last;
  };
  static constexpr std::array kRanges = {Range{0x00, 0x1f},     Range{0x7f, 0x9f},
                                         Range{0x61c, 0x61c},   Range{0x200e, 0x200f},
                                         Range{0x2028, 0x202e}, Range{0x2066, 0x2069}};
  return std::any_of(kRanges.begin(), kRanges.end(), [code](const Range& range) {
    return code >= range.first && code <= range.last;
  });
}

void append_escaped(std::string& to, std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    to += '\\';
    to += kDigits[byte_at(bytes, i) >> 4];
    to += kDigits[byte_at(bytes, i) & 0xfU];
  }
}

}  // namespace

std::string printable(std::string_view text, std::size_t bytes_max) {
  constexpr std::string_view kCut = "...";
  std::string shown;
  std::size_t cut_at = 0;  // The longest prefix with room for the dots.
  while (!text.empty()) {
    const Character character = first_of(text);
    const std::string_view bytes = text.substr(0, character.bytes);
    if (character.is_valid && !deceives(character.code)) {
      shown += bytes;
    } else {
      append_escaped(shown, bytes);
    }
    if (shown.size() > bytes_max) {
      shown.resize(cut_at);
      return shown.append(kCut);
    }
    if (shown.size() + kCut.size() <= bytes_max) cut_at = shown.size();
    text.remove_prefix(bytes.size());
  }
  return shown;
}

}  // namespace heddle
