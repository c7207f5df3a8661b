// ETags, dates and conditions: see validators.h.
#include "http/validators.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "http/date.h"

namespace heddle::http {
namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

enum class Compare : bool { kWeak, kStrong };

// Whether `list`, such as `"a", W/"b"` or `*`, names `etag`, which is strong. What
// follows something malformed is not looked at.
bool names(std::string_view list, std::string_view etag, Compare compare) noexcept {
  if (list == "*") return true;
  while (true) {
    list.remove_prefix(std::min(list.find_first_not_of(" \t,"), list.size()));
    const bool weak = list.starts_with("W/");
    if (weak) list.remove_prefix(2);
    if (!list.starts_with('"')) return false;
    const std::size_t close = list.find('"', 1);
    if (close == std::string_view::npos) return false;
    const std::string_view tag = list.substr(0, close + 1);
    if (tag == etag && (!weak || compare == Compare::kWeak)) return true;
    list.remove_prefix(tag.size());
  }
}

}  // namespace

Validators::Validators(std::int64_t modified, std::uint64_t size) noexcept
    : modified_seconds_(modified / kNanosecondsPerSecond), etag_{} {
  // Nanoseconds and the size: as strong as a tag can be without reading the file.
  char* const end = etag_.data() + etag_.size();
  char* at = etag_.data();
  *at++ = '"';
  at = std::to_chars(at, end, static_cast<std::uint64_t>(modified), 16).ptr;
  *at++ = '-';
  at = std::to_chars(at, end, size, 16).ptr;
  *at++ = '"';
  etag_size_ = static_cast<std::size_t>(at - etag_.data());
}

Verdict check_conditions(const Request& request, const Validators& current) noexcept {
  if (!request.if_match.empty()) {
    if (!names(request.if_match, current.etag(), Compare::kStrong)) {
      return Verdict::kPreconditionFailed;
    }
  } else if (!request.if_unmodified_since.empty()) {
    const std::optional<std::int64_t> since = parse_date(request.if_unmodified_since);
    if (since && current.modified_seconds() > *since) return Verdict::kPreconditionFailed;
  }
  if (!request.if_none_match.empty()) {
    return names(request.if_none_match, current.etag(), Compare::kWeak) ? Verdict::kNotModified
                                                                        : Verdict::kProceed;
  }
  if (!request.if_modified_since.empty()) {
    const std::optional<std::int64_t> since = parse_date(request.if_modified_since);
    if (since && current.modified_seconds() <= *since) return Verdict::kNotModified;
  }
  return Verdict::kProceed;
}

bool range_applies(const Request& request, const Validators& current) noexcept {
  const std::string_view condition = request.if_range;
  if (condition.empty()) return true;
  if (condition.starts_with('"')) return condition == current.etag();
  if (condition.starts_with("W/")) return false;  // A weak tag proves nothing about bytes.
  return parse_date(condition) == current.modified_seconds();
}

}  // namespace heddle::http
