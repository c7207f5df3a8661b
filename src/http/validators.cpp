// ETags, dates and conditions: see validators.h.
#include "http/validators.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include "http/date.h"

namespace heddle::http {
namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;
constexpr std::int64_t kSettledAfter = 2;  // Seconds.

enum class Compare : bool { kWeak, kStrong };

constexpr std::string_view kWeakMark = "W/";

// Whether `list`, such as `"a", W/"b"` or `*`, names `etag`. What follows something
// malformed is not looked at.
bool names(std::string_view list, std::string_view etag, Compare compare) noexcept {
  if (list == "*") return true;
  const bool etag_is_weak = etag.starts_with(kWeakMark);
  if (etag_is_weak && compare == Compare::kStrong) return false;
  if (etag_is_weak) etag.remove_prefix(kWeakMark.size());
  while (true) {
    list.remove_prefix(std::min(list.find_first_not_of(" \t,"), list.size()));
    const bool weak = list.starts_with(kWeakMark);
    if (weak) list.remove_prefix(kWeakMark.size());
    if (!list.starts_with('"')) return false;
    const std::size_t close = list.find('"', 1);
    if (close == std::string_view::npos) return false;
    const std::string_view tag = list.substr(0, close + 1);
    if (tag == etag && (!weak || compare == Compare::kWeak)) return true;
    list.remove_prefix(tag.size());
    // Another one follows behind a comma only.
    const std::size_t next = list.find_first_not_of(" \t");
    if (next != std::string_view::npos && list[next] != ',') return false;
  }
}

// The two digits of each byte. Not inside the function: it would be built on the stack.
constexpr std::array kHexOfByte = [] {
  std::array<std::array<char, 2>, 256> table{};
  for (std::size_t i = 0; i < table.size(); ++i) {
    table[i] = {"0123456789abcdef"[i / 16], "0123456789abcdef"[i % 16]};
  }
  return table;
}();

// A tag is made for each answer, which std::to_chars() makes a tenth of our part of the work.
char* write_hex(char* at, std::uint64_t number) noexcept {
  const auto bytes = static_cast<std::size_t>(std::bit_width(number | 1) + 7) / 8;
  for (std::size_t i = bytes; i-- > 0; number >>= 8) {
    std::memcpy(at + 2 * i, kHexOfByte[number & 0xff].data(), 2);
  }
  return at + 2 * bytes;
}

}  // namespace

Validators::Validators(const FileVersion& version, std::int64_t now) noexcept
    : modified_seconds_(std::min(version.modified / kNanosecondsPerSecond, now)),
      now_(now),
      etag_{} {
  const std::int64_t changed_seconds = version.changed / kNanosecondsPerSecond;
  const bool settled = changed_seconds + kSettledAfter <= now;
  date_is_strong_ = settled && changed_seconds == version.modified / kNanosecondsPerSecond;
  char* at = etag_.data();
  if (!settled) at = std::copy(kWeakMark.begin(), kWeakMark.end(), at);
  *at++ = '"';
  at = write_hex(at, version.inode);
  *at++ = '-';
  at = write_hex(at, version.size);
  *at++ = '-';
  at = write_hex(at, static_cast<std::uint64_t>(version.changed));
  if (version.modified != version.changed) {
    *at++ = '-';
    at = write_hex(at, static_cast<std::uint64_t>(version.modified));
  }
  *at++ = '"';
  etag_size_ = static_cast<std::size_t>(at - etag_.data());
}

Verdict check_conditions(const Request& request, const Validators& current) noexcept {
  if (!request.if_match.empty()) {
    if (!names(request.if_match, current.etag(), Compare::kStrong)) {
      return Verdict::kPreconditionFailed;
    }
  } else if (!request.if_unmodified_since.empty()) {
    const std::optional<std::int64_t> since =
        parse_date(request.if_unmodified_since, current.now_seconds());
    if (since && current.modified_seconds() > *since) return Verdict::kPreconditionFailed;
  }
  if (!request.if_none_match.empty()) {
    return names(request.if_none_match, current.etag(), Compare::kWeak) ? Verdict::kNotModified
                                                                        : Verdict::kProceed;
  }
  if (!request.if_modified_since.empty()) {
    const std::optional<std::int64_t> since =
        parse_date(request.if_modified_since, current.now_seconds());
    if (since && current.modified_seconds() <= *since) return Verdict::kNotModified;
  }
  return Verdict::kProceed;
}

bool range_applies(const Request& request, const Validators& current) noexcept {
  const std::string_view condition = request.if_range;
  if (condition.empty()) return true;
  // A weak validator proves nothing about bytes, whoever has it (RFC 9110, 13.1.5).
  if (condition.starts_with('"')) return current.is_strong() && condition == current.etag();
  if (!current.date_is_strong()) return false;
  return parse_date(condition, current.now_seconds()) == current.modified_seconds();
}

}  // namespace heddle::http
