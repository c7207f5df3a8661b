// Validators and the conditions that clients put on them (RFC 9110, 8.8 and 13).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "http/request.h"

namespace heddle::http {

// Validators says which version of a file this is.
class Validators {
 public:
  // `modified` in nanoseconds since 1970.
  Validators(std::int64_t modified, std::uint64_t size) noexcept;

  std::string_view etag() const noexcept { return {etag_.data(), etag_size_}; }
  std::int64_t modified_seconds() const noexcept { return modified_seconds_; }

 private:
  std::int64_t modified_seconds_;
  std::array<char, 40> etag_;
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
