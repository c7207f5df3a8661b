// Making and reading HTTP dates: see date.h.
#include "http/date.h"

#include <algorithm>
#include <chrono>
#include <ctime>

namespace heddle::http {
namespace {

constexpr std::int64_t kLastSecondOf9999 = 253402300799;
constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";

void put_digits(char* at, unsigned value, unsigned count) noexcept {
  for (unsigned i = count; i > 0; --i) {
    at[i - 1] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
}

}  // namespace

DateText format_date(std::int64_t unix_seconds) noexcept {
  // Arithmetic only: gmtime_r() takes a lock, and strftime() asks the locale.
  using std::chrono::sys_days;
  const auto moment = std::chrono::sys_seconds(
      std::chrono::seconds(std::clamp<std::int64_t>(unix_seconds, 0, kLastSecondOf9999)));
  const sys_days day = std::chrono::floor<std::chrono::days>(moment);
  const std::chrono::year_month_day date(day);
  const unsigned weekday = std::chrono::weekday(day).c_encoding();
  const auto seconds = static_cast<unsigned>((moment - day).count());

  DateText text;
  std::ranges::copy(std::string_view("Sun, 00 Jan 0000 00:00:00 GMT"), text.begin());
  std::ranges::copy(kDays.substr(std::size_t{3} * weekday, 3), text.begin());
  put_digits(&text[5], static_cast<unsigned>(date.day()), 2);
  const std::size_t month = static_cast<unsigned>(date.month()) - 1;
  std::ranges::copy(kMonths.substr(3 * month, 3), text.begin() + 8);
  put_digits(&text[12], static_cast<unsigned>(static_cast<int>(date.year())), 4);
  put_digits(&text[17], seconds / 3600, 2);
  put_digits(&text[20], seconds / 60 % 60, 2);
  put_digits(&text[23], seconds % 60, 2);
  return text;
}

std::optional<std::int64_t> parse_date(std::string_view text) noexcept {
  std::array<char, 48> terminated{};
  if (text.size() >= terminated.size()) return std::nullopt;
  std::ranges::copy(text, terminated.begin());
  // IMF-fixdate, then the obsolete forms of RFC 850 and of asctime(). No program
  // of ours calls setlocale(), so the names are English ones.
  for (const char* form :
       {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"}) {
    std::tm fields{};
    const char* end = ::strptime(terminated.data(), form, &fields);
    if (end == terminated.data() + text.size()) return ::timegm(&fields);
  }
  return std::nullopt;
}

std::string_view DateCache::now() noexcept {
  const std::int64_t second = std::time(nullptr);  // The vDSO answers: no system call.
  if (second != second_) {
    second_ = second;
    text_ = format_date(second);
  }
  return {text_.data(), text_.size()};
}

}  // namespace heddle::http
