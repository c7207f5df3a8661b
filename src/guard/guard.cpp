// What happens around a watched call that is not clean, and at the beginning and end of a process.
#include "guard/guard.h"

#include <sys/syscall.h>

#include <atomic>

#include <unistd.h>

#include "guard/errno_kept.h"
#include "guard/next.h"
#include "guard/settings.h"
#include "guard/sink.h"
#include "guard/text.h"

namespace heddle::guard {

constinit thread_local Trail trail;

namespace {

constinit std::atomic<pid_t> first_process{0};
constinit std::atomic<pid_t> ended_process{0};

bool is_power_of_ten(std::uint64_t number) {
  while (number >= 10 && number % 10 == 0) number /= 10;
  return number == 1;
}

Outcome classify(bool wants_more, int seen) {
  if (!wants_more) return Outcome::kFailed;
  return seen == SSL_ERROR_SSL || seen == SSL_ERROR_SYSCALL ? Outcome::kSpurious : Outcome::kSaved;
}

std::atomic<std::uint64_t>& counter_of(Place& place, Outcome outcome) {
  switch (outcome) {
    case Outcome::kSpurious:
      return place.spurious;
    case Outcome::kSaved:
      return place.saved;
    case Outcome::kFailed:
      break;
  }
  return place.failed;
}

void note_outcome(const Library& library, const Visit& visit, const SSL* ssl,
                  std::int64_t returned) {
  const int seen = library.get_error(ssl, static_cast<int>(returned));  // It only peeks.
  const Outcome outcome = classify(only_wants_to_be_repeated(library, ssl), seen);
  if (outcome == Outcome::kSaved && !(visit.cleared && library.entries_come_first)) return;
  // After the cure it is the program's plain failure, and none of our business.
  if (outcome != Outcome::kSaved && visit.cleared) return;
  const std::uint64_t times = ++counter_of(*visit.place, outcome);
  if (times == 1) {
    report_outcome(
        *visit.place, ssl,
        {.outcome = outcome, .returned = returned, .wanted = library.want(ssl), .seen = seen});
  } else if (is_power_of_ten(times)) {
    report_count(*visit.place);
  }
}

}  // namespace

Visit enter_dirty(const Library& library, Call call, const SSL* ssl, const void* site) {
  const ErrnoKept errno_kept;
  const Entries entries = read_queue(library);
  Visit visit{.place = place_of(call, site, entries.entries[0])};
  const bool harmless = clears_the_queue_itself(call);
  if (visit.place != nullptr) {
    const std::uint64_t times = ++visit.place->times;
    if (times == 1 && !harmless) {
      report_dirty({.library = library,
                    .place = *visit.place,
                    .ssl = ssl,
                    .entries = entries,
                    .trail = trail});
    } else if (times > 1 && is_power_of_ten(times)) {
      report_count(*visit.place);
    }
  }
  if (mode() == Mode::kCure && !harmless) {
    library.clear_error();
    visit.cleared = true;
  }
  if (visit.cleared || harmless) trail = {.call = call, .ssl = ssl, .site = site};
  return visit;
}

void leave_dirty(const Library& library, const Visit& visit, const SSL* ssl, Call call,
                 std::int64_t returned) {
  const ErrnoKept errno_kept;
  if (visit.cleared || clears_the_queue_itself(call)) leave_clean(library, ssl, trail.site);
  if (visit.place == nullptr || clears_the_queue_itself(call)) return;
  if (failed(call, returned)) note_outcome(library, visit, ssl, returned);
}

void leave_clean(const Library& library, const SSL* ssl, const void* site) {
  const ErrnoKept errno_kept;
  if (library.peek_error() == 0) return;
  // If a fiber was switched within the call, the trail may be another call's by now.
  if (trail.ssl == ssl && trail.site == site) trail.left_entries = true;
}

void complain_of_missing(Call call) {
  const ErrnoKept errno_kept;
  std::array<char, 128> room{};
  Text text(room);
  text << name_of(call) << "() was called, but no OpenSSL in this process has it";
  write_note(text.view());
}

namespace {

void end_process() {
  const ErrnoKept errno_kept;
  const pid_t process = getpid();
  if (mode() == Mode::kOff || ended_process.exchange(process) == process) return;
  report_exit(first_process.load() == process);
}

// Other preloaded libraries and the sanitizers' runtimes have an _exit(), too.
using ExitFunction = void(int);
constinit std::atomic<ExitFunction*> next_exit{nullptr};

[[gnu::constructor]] void begin_process() {
  const ErrnoKept errno_kept;
  next_exit.store(next_definition<ExitFunction>("_exit"));
  remember_standard_error();
  check_settings();
  first_process.store(getpid());
  find_loaded_libraries();
}

[[gnu::destructor]] void end_in_order() {
  end_process();
}

[[noreturn]] void end_at_once(int status) {
  end_process();
  if (ExitFunction* const next = next_exit.load(); next != nullptr) next(status);
  for (;;) (void)syscall(SYS_exit_group, status);
}

}  // namespace

// Where forked children mostly end, without running destructors. libc declares the first of them as
// if it were allowed to throw.
extern "C" {
[[gnu::visibility("default")]] void _exit(int status) {  // NOLINT(readability-identifier-naming)
  end_at_once(status);
}
[[gnu::visibility("default")]] void _Exit(int status) noexcept {
  end_at_once(status);
}
}

}  // namespace heddle::guard
