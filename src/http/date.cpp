// Making and reading HTTP dates: see date.h.
#include "http/date.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>

#include "http/text.h"

namespace heddle::http {
namespace {

constexpr std::int64_t kLastSecondOf9999 = 253402300799;
constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
constexpr std::array<std::string_view, 7> kRestOfDays = {"day",   "day", "sday", "nesday",
                                                         "rsday", "day", "urday"};
constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";

void put_two(char* at, unsigned value) noexcept {
  at[0] = static_cast<char>('0' + value / 10);
  at[1] = static_cast<char>('0' + value % 10);
}

// Reads the two digits at the front of `text`, and takes them off. -1 if there are none.
int take_two(std::string_view& text) noexcept {
  if (text.size() < 2 || !is_digit(text[0]) || !is_digit(text[1])) return -1;
  const int number = (text[0] - '0') * 10 + (text[1] - '0');
  text.remove_prefix(2);
  return number;
}

int take_four(std::string_view& text) noexcept {
  const int high = take_two(text);
  const int low = take_two(text);
  return high < 0 || low < 0 ? -1 : high * 100 + low;
}

bool take(std::string_view& text, std::string_view expected) noexcept {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

// The place of the three letters at the front of `text` among `names`, from 0; or -1.
int take_name(std::string_view& text, std::string_view names) noexcept {
  if (text.size() < 3) return -1;
  for (std::size_t i = 0; i < names.size(); i += 3) {
    if (take(text, names.substr(i, 3))) return static_cast<int>(i / 3);
  }
  return -1;
}

struct Fields {
  int year = -1;
  int month = -1;  // From 0.
  int day = -1;
  int seconds = -1;  // Of the day.
};

// "08:49:37". A leap second counts as the one before.
int take_time(std::string_view& text) noexcept {
  const int hours = take_two(text);
  const bool first = take(text, ":");
  const int minutes = take_two(text);
  const bool second = take(text, ":");
  const int seconds = take_two(text);
  const bool ok = first && second && hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60 &&
                  seconds >= 0 && seconds <= 60;
  return ok ? hours * 3600 + minutes * 60 + std::min(seconds, 59) : -1;
}

// "06 Nov 1994 08:49:37 GMT"
Fields read_fixdate(std::string_view text) noexcept {
  Fields fields;
  fields.day = take_two(text);
  if (!take(text, " ")) return {};
  fields.month = take_name(text, kMonths);
  if (!take(text, " ")) return {};
  fields.year = take_four(text);
  if (!take(text, " ")) return {};
  fields.seconds = take_time(text);
  return text == " GMT" ? fields : Fields{};
}

// "06-Nov-94 08:49:37 GMT". A year that would be more than 50 years ahead has passed.
Fields read_rfc850(std::string_view text, int this_year) noexcept {
  Fields fields;
  fields.day = take_two(text);
  if (!take(text, "-")) return {};
  fields.month = take_name(text, kMonths);
  if (!take(text, "-")) return {};
  const int year = take_two(text);
  if (year < 0 || !take(text, " ")) return {};
  fields.year = this_year / 100 * 100 + year;
  if (fields.year > this_year + 50) fields.year -= 100;
  fields.seconds = take_time(text);
  return text == " GMT" ? fields : Fields{};
}

// "Nov  6 08:49:37 1994"
Fields read_asctime(std::string_view text) noexcept {
  Fields fields;
  fields.month = take_name(text, kMonths);
  if (!take(text, " ")) return {};
  if (text.size() > 1 && text[0] == ' ' && is_digit(text[1])) {
    fields.day = text[1] - '0';
    text.remove_prefix(2);
  } else {
    fields.day = take_two(text);
  }
  if (!take(text, " ")) return {};
  fields.seconds = take_time(text);
  if (!take(text, " ")) return {};
  fields.year = take_four(text);
  return text.empty() ? fields : Fields{};
}

int year_of(std::int64_t unix_seconds) noexcept {
  const auto moment = std::chrono::sys_seconds(
      std::chrono::seconds(std::clamp<std::int64_t>(unix_seconds, 0, kLastSecondOf9999)));
  const std::chrono::year_month_day date(std::chrono::floor<std::chrono::days>(moment));
  return static_cast<int>(date.year());
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
  std::memcpy(text.data(), "Sun, 00 Jan 0000 00:00:00 GMT", text.size());
  std::memcpy(text.data(), &kDays[std::size_t{3} * weekday], 3);
  put_two(&text[5], static_cast<unsigned>(date.day()));
  const std::size_t month = static_cast<unsigned>(date.month()) - 1;
  std::memcpy(&text[8], &kMonths[3 * month], 3);
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
  put_two(&text[12], year / 100);
  put_two(&text[14], year % 100);
  put_two(&text[17], seconds / 3600);
  put_two(&text[20], seconds / 60 % 60);
  put_two(&text[23], seconds % 60);
  return text;
}

std::string_view kept_date(std::int64_t unix_seconds) noexcept {
  struct Kept {
    std::int64_t seconds = -1;
    DateText text{};
  };
  thread_local constinit std::array<Kept, 64> all{};
  const std::int64_t seconds = std::clamp<std::int64_t>(unix_seconds, 0, kLastSecondOf9999);
  Kept& kept = all[static_cast<std::size_t>(seconds) % all.size()];
  if (kept.seconds != seconds) kept = {seconds, format_date(seconds)};
  return {kept.text.data(), kept.text.size()};
}

std::optional<std::int64_t> parse_date(std::string_view text, std::int64_t now) noexcept {
  // Whether the day of the week fits, nobody asks; but it must be one.
  const int weekday = take_name(text, kDays);
  if (weekday < 0) return std::nullopt;
  Fields fields;
  if (take(text, ", ")) {
    fields = read_fixdate(text);
  } else if (take(text, " ")) {
    fields = read_asctime(text);
  } else if (take(text, kRestOfDays.at(static_cast<std::size_t>(weekday))) && take(text, ", ")) {
    fields = read_rfc850(text, year_of(now));
  }
  using std::chrono::sys_days;
  const std::chrono::year_month_day date(
      std::chrono::year(fields.year), std::chrono::month(static_cast<unsigned>(fields.month + 1)),
      std::chrono::day(static_cast<unsigned>(fields.day)));
  const bool complete = fields.year >= 0 && fields.month >= 0 && fields.day > 0;
  if (!complete || fields.seconds < 0 || !date.ok()) return std::nullopt;
  const std::chrono::sys_seconds midnight = sys_days(date);
  return midnight.time_since_epoch().count() + fields.seconds;
}

std::int64_t DateCache::seconds() noexcept {
  return std::time(nullptr);  // The vDSO answers: no system call.
}

std::string_view DateCache::now() noexcept {
  const std::int64_t second = seconds();
  if (second != second_) {
    second_ = second;
    text_ = format_date(second);
  }
  return {text_.data(), text_.size()};
}

}  // namespace heddle::http
