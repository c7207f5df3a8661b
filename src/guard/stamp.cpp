// How each record begins: see stamp.h.
#include "guard/stamp.h"

#include <chrono>
#include <ctime>

#include <errno.h>
#include <unistd.h>

namespace heddle::guard {
namespace {

// By <chrono>'s calendar: gmtime_r() takes the lock of the time zone.
void write_time(Text& text) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);  // tidy: for people to read; nothing depends on it.
  const std::chrono::sys_seconds time{std::chrono::seconds(now.tv_sec)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  const auto write = [&text](auto number, std::size_t digits, const char* after) {
    text.decimal(static_cast<std::uint64_t>(number), digits) << after;
  };
  write(static_cast<int>(date.year()), 4, "-");
  write(static_cast<unsigned>(date.month()), 2, "-");
  write(static_cast<unsigned>(date.day()), 2, "T");
  write(clock.hours().count(), 2, ":");
  write(clock.minutes().count(), 2, ":");
  write(clock.seconds().count(), 2, ".");
  write(now.tv_nsec / 1000, 6, "Z");
}

}  // namespace

void write_stamp_text(Text& text) {
  text << "heddle-guard: ";
  write_time(text);
  (text << " pid ").integer(getpid());
  (text << " thread ").integer(gettid()) << ": ";
}

void write_stamp_json(Text& text, std::string_view event) {
  text << "{\"event\":\"" << event << "\",\"time\":\"";
  write_time(text);
  (text << "\",\"pid\":").integer(getpid());
  (text << ",\"thread\":").integer(gettid());
  (text << ",\"program\":").quoted(program_invocation_short_name);
}

}  // namespace heddle::guard
