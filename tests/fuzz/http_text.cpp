// Texts of requests: targets, escapes, ranges, dates, conditions.
#include <array>
#include <string>

#include "fuzz/fuzz.h"
#include "http/content_type.h"
#include "http/date.h"
#include "http/escape.h"
#include "http/range.h"
#include "http/request.h"
#include "http/validators.h"

using heddle::fuzz::require;
namespace http = heddle::http;

namespace {

constexpr std::int64_t kNow = 1'800'000'000;

void check_range(std::string_view text) {
  constexpr std::array<std::uint64_t, 4> kSizes = {0, 1, 1000, UINT64_MAX};
  for (const std::uint64_t size : kSizes) {
    const http::ByteRange range = http::parse_range(text, size);
    if (range.kind != http::ByteRange::Kind::kPart) continue;
    require(range.length > 0, "a part is not empty");
    require(range.offset < size && range.length <= size - range.offset, "a part is in the file");
  }
}

void check_target(std::string_view text) {
  const auto target = http::split_target(text);
  if (!target) return;
  require(target->path.starts_with('/'), "a path begins with a slash");
  require(target->query.empty() || target->query.starts_with('?'), "a query has its mark");
}

void check_escapes(std::string_view text) {
  std::array<char, 64> decoded;
  std::size_t size = 0;
  if (http::percent_decode(text, decoded, size) == http::Decoding::kOk) {
    require(size < decoded.size() && decoded.at(size) == '\0', "what is decoded ends with zero");
    std::string encoded;
    http::append_percent_encoded(encoded, {decoded.data(), size});
    std::array<char, 64> again;
    std::size_t size_again = 0;
    require(http::percent_decode(encoded, again, size_again) == http::Decoding::kOk,
            "what is encoded can be decoded");
    const std::string_view first(decoded.data(), size);
    require(std::string_view(again.data(), size_again) == first, "and is the same");
  }
  std::string html;
  http::append_html(html, text);
  require(html.find_first_of("<>\"'") == std::string::npos, "escaped text has no markup");
}

void check_date(std::string_view text) {
  const auto date = http::parse_date(text, kNow);
  if (!date) return;
  const http::DateText formatted = http::format_date(*date);
  const auto again = http::parse_date({formatted.data(), formatted.size()}, kNow);
  const bool in_bounds = *date >= 0;
  require(again.has_value() && (!in_bounds || again == date), "a date is read as it is written");
}

void check_conditions(std::string_view text) {
  const http::Validators current({.modified = 5, .changed = 6, .inode = 7, .size = 8}, kNow);
  (void)http::check_conditions({.if_match = text, .if_modified_since = text}, current);
  (void)http::check_conditions({.if_none_match = text, .if_unmodified_since = text}, current);
  (void)http::range_applies({.if_range = text}, current);
  require(!http::content_type(text).empty(), "there is always a type");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = heddle::fuzz::text_of(data, size);
  check_range(text);
  check_target(text);
  check_escapes(text);
  check_date(text);
  check_conditions(text);
  return 0;
}
