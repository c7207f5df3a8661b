// ETags, dates and conditions: see validators.h.
#include "http/validators.h"

#include <algorithm>
#include <charconv>
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

}  // namespace

Validators::Validators(const FileVersion& version, std::int64_t now) noexcept
    : modified_seconds_(std::min(version.modified / kNanosecondsPerSecond, now)),
      now_(now),
      etag_{} {
  const std::int64_t changed_seconds = version.changed / kNanosecondsPerSecond;
  const bool settled = changed_seconds + kSettledAfter <= now;
  date_is_strong_ = settled && changed_seconds == version.modified / kNanosecondsPerSecond;
  char* const end = etag_.data() + etag_.size();
  char* at = etag_.data();
  if (!settled) at = std::copy(kWeakMark.begin(), kWeakMark.end(), at);
  *at++ = '"';
  at = std::to_chars(at, end, version.inode, 16).ptr;
  *at++ = '-';
  at = std::to_chars(at, end, version.size, 16).ptr;
  *at++ = '-';
  at = std::to_chars(at, end, static_cast<std::uint64_t>(version.changed), 16).ptr;
  if (version.modified != version.changed) {
    *at++ = '-';
    at = std::to_chars(at, end, static_cast<std::uint64_t>(version.modified), 16).ptr;
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
