// Validators and the conditions that clients put on them (RFC 9110, 8.8 and 13).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/request.h"

namespace heddle::http {

// What a file system says of a version of a file. Times in nanoseconds since 1970.
struct FileVersion {
  std::int64_t modified = 0;  // Which anybody may set.
  std::int64_t changed = 0;   // Of content or metadata: the kernel's word.
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
};

// Validators says which version of a file this is. A version is told apart from others by all of
// FileVersion: files are replaced by ones of the same size that were given the same time.
//
// A validator is strong (RFC 9110, 8.8.1) only if no other version can have the same one. A file
// that has been changed in this second or the last may be changed again within what a clock tells
// apart: its tag is weak. A date is strong if, besides, the file was not touched since then.
class Validators {
 public:
  // `now` in seconds since 1970.
  Validators(const FileVersion& version, std::int64_t now) noexcept;

  // With W/ in front if it is weak.
  std::string_view etag() const noexcept { return {etag_.data(), etag_size_}; }
  bool is_strong() const noexcept { return etag_.front() == '"'; }
  bool date_is_strong() const noexcept { return date_is_strong_; }
  // Not in the future (RFC 9110, 8.8.2.1).
  std::int64_t modified_seconds() const noexcept { return modified_seconds_; }
  std::int64_t now_seconds() const noexcept { return now_; }

 private:
  std::int64_t modified_seconds_;
  std::int64_t now_;
  bool date_is_strong_;
  std::array<char, 72> etag_;  // Four numbers of at most 16 digits, and what is between them.
  std::size_t etag_size_;
};

enum class Verdict : std::uint8_t {
  kProceed,
  kNotModified,         // 304
  kPreconditionFailed,  // 412
};

// Decides on If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since, in
// the order of RFC 9110, 13.2.2. For GET and HEAD.
Verdict check_conditions(const Request& request, const Validators& current) noexcept;

// Whether If-Range, if there is one, lets the Range field count.
bool range_applies(const Request& request, const Validators& current) noexcept;

}  // namespace heddle::http
