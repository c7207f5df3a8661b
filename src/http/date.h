// HTTP dates (RFC 9110, 5.6.7): made, read, and the present one kept for a second.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace heddle::http {

// Always of one length: "Sun, 06 Nov 1994 08:49:37 GMT".
using DateText = std::array<char, 29>;

// Formats a Unix time. Times before 1970 and after 9999 are moved to those bounds.
DateText format_date(std::int64_t unix_seconds) noexcept;

// The same, made once for dates that are asked for often: a thread keeps up to 64. Valid until the
// thread's next call.
std::string_view kept_date(std::int64_t unix_seconds) noexcept;

// Reads any of the three forms that RFC 9110 makes a recipient accept, and no others. `now` is for
// the one whose years have two digits.
std::optional<std::int64_t> parse_date(std::string_view text, std::int64_t now) noexcept;

// DateCache is the text of the Date field, made at most once a second.
//
// Threads:  one.
class DateCache {
 public:
  // Valid until the next call.
  std::string_view now() noexcept;

  static std::int64_t seconds() noexcept;

 private:
  std::int64_t second_ = -1;
  DateText text_{};
};

}  // namespace heddle::http
