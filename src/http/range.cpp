// Reading the Range field: see range.h.
#include "http/range.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <system_error>

#include "http/text.h"

namespace heddle::http {
namespace {

// Digits only. A number too large for us is larger than any file.
std::optional<std::uint64_t> parse_number(std::string_view digits) noexcept {
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error == std::errc::result_out_of_range) return std::numeric_limits<std::uint64_t>::max();
  return number;
}

ByteRange last_bytes(std::uint64_t count, std::uint64_t size) noexcept {
  if (count == 0) return {.kind = ByteRange::Kind::kUnsatisfiable};
  // Of an empty file, any suffix is the whole, and a Content-Range cannot say so.
  if (size == 0) return {};
  const std::uint64_t length = std::min(count, size);
  return {.kind = ByteRange::Kind::kPart, .offset = size - length, .length = length};
}

}  // namespace

ByteRange parse_range(std::string_view field, std::uint64_t size) noexcept {
  const std::size_t equals = field.find('=');
  if (equals == std::string_view::npos || !equals_ignoring_case(field.substr(0, equals), "bytes"))
    return {};
  const std::string_view spec = trim(field.substr(equals + 1));
  const std::size_t dash = spec.find('-');
  if (dash == std::string_view::npos) return {};
  // A comma, which is what several ranges are separated by, is in neither number.
  const std::string_view before = spec.substr(0, dash);
  const std::string_view after = spec.substr(dash + 1);
  if (before.empty()) {
    const std::optional<std::uint64_t> count = parse_number(after);
    return count ? last_bytes(*count, size) : ByteRange{};
  }
  const std::optional<std::uint64_t> first = parse_number(before);
  if (!first) return {};
  std::uint64_t last = std::numeric_limits<std::uint64_t>::max();
  if (!after.empty()) {
    const std::optional<std::uint64_t> given = parse_number(after);
    if (!given || *given < *first) return {};
    last = *given;
  }
  if (*first >= size) return {.kind = ByteRange::Kind::kUnsatisfiable};
  last = std::min(last, size - 1);
  return {.kind = ByteRange::Kind::kPart, .offset = *first, .length = last - *first + 1};
}

}  // namespace heddle::http
