// What happens around a watched call that is not clean, and at the beginning and end of a process.
#include "guard/guard.h"

#include <sys/syscall.h>

#include <atomic>

#include <pthread.h>
#include <unistd.h>

#include "guard/errno_kept.h"
#include "guard/next.h"
#include "guard/origin.h"
#include "guard/process.h"
#include "guard/provoke.h"
#include "guard/python.h"
#include "guard/seen.h"
#include "guard/settings.h"
#include "guard/sink.h"
#include "guard/text.h"
#include "guard/verdict.h"

namespace heddle::guard {

constinit thread_local Trail trail;
constinit thread_local Place* pending = nullptr;

namespace {

// The entry that the trail's call left, if it did. Its strings may be gone: it is for same().
constinit thread_local Entry left_entry;

constinit std::atomic<pid_t> first_process{0};
constinit std::atomic<pid_t> ended_process{0};

std::uintptr_t number_of(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

// OpenSSL's own code, or the guard's: there a call seems to come from that OpenSSL has jumped to
// at the end of a function.
bool is_within(const Library& library, const void* site) {
  return library.object.contains(number_of(site)) || own_object().contains(number_of(site));
}

void note_outcome(const Library& library, const Visit& visit, const SSL* ssl,
                  const Failure& failure) {
  const Verdict verdict = judge(library, failure.call, ssl, failure);
  const bool cured = visit.cleared && library.entries_come_first;
  // After the cure, what fails is the program's plain failure, and none of our business.
  if (is_truthful(verdict) ? !cured : visit.cleared) return;
  if (visit.cleared) pending = nullptr;  // It is counted here.
  count_outcome(library, *visit.place, ssl, verdict);
}

// The next best to who pushed it: who made the call that left it.
std::uint64_t next_best_leaker() {
  return trail.left_entries ? number_of(trail.site) : 0;
}

// Finds the place of a call and reports it if it is a new one. Null if there are too many.
Place* note_dirty(const Library& library, Call call, const SSL* ssl, const void* site,
                  const Entry& oldest) {
  const std::uint64_t leaker = leaker_of(oldest);
  Place* const place = place_of({.call = call,
                                 .site = site,
                                 .oldest = oldest,
                                 .leaker = leaker == 0 ? next_best_leaker() : leaker,
                                 .victim = python_place()});
  if (place == nullptr) return nullptr;
  const std::uint64_t times = ++place->times;
  if (times == 1 && !clears_the_queue_itself(call)) {
    const Entries entries = read_queue(library);
    report_dirty(
        {.library = library, .place = *place, .ssl = ssl, .entries = entries, .trail = trail});
  } else if (times > 1 && is_power_of_ten(times)) {
    report_count(*place);
  }
  return place;
}

// A program may want to read, after SSL_shutdown(), why the call before had failed: the entry is
// its reason, and neither a stranger's nor ours to take away. Nor can an SSL that was made anew at
// the same address be meant: it begins with a handshake.
bool is_own(const SSL* ssl, Call call, const Entry& oldest) {
  return trail.left_entries && trail.ssl == ssl && !clears_the_queue_itself(call) &&
         same(oldest, left_entry);
}

// Whether the program is told of a failure because of an entry.
bool misleads(const Verdict& verdict) {
  return !is_truthful(verdict) && verdict.outcome != Outcome::kFailed;
}

// What misleads the program, now that it has called or asks. `call` is what it does.
void settle_misleading(const Library& library, Call call, const SSL* ssl, const void* site,
                       Failure failure) {
  const Entry oldest = read_ends(library, state_of(library)).oldest;
  Place* const place = note_dirty(library, call, ssl, site, oldest);
  if (mode() == Mode::kCure) {
    library.clear_error();
    failure.oldest = 0;
  }
  if (place != nullptr) count_outcome(library, *place, ssl, judge(library, call, ssl, failure));
  trail.judged = ssl;
}

// Only if the connection is healthy, it is as misleading as any: the call before had failed for
// something else, as for a wrong argument.
void leave_own(const Library& library, const SSL* ssl, const void* site, const Failure& failure) {
  if (!failed(failure.call, failure.returned) || library.peek_error() == 0) return;
  if (!misleads(judge(library, failure.call, ssl, failure))) return;
  settle_misleading(library, failure.call, ssl, site, failure);
}

// The cure. An entry that was there before, and is pending, would be the first of them all.
void empty_queue(const Library& library, Place* place) {
  if (pending == nullptr || !is_marked_emptied(library)) pending = place;
  library.clear_error();
  mark_emptied(library);
}

}  // namespace

Visit enter_dirty(const Library& library, Call call, const SSL* ssl, const void* site,
                  const ErrorState* state) {
  const ErrnoKept errno_kept;
  const Ends ends = read_ends(library, state);
  Visit visit{.newest = ends.newest};
  visit.own = is_own(ssl, call, ends.oldest);
  if (visit.own) return visit;
  visit.place = note_dirty(library, call, ssl, site, ends.oldest);
  const bool harmless = clears_the_queue_itself(call);
  if (mode() == Mode::kCure && !harmless) {
    empty_queue(library, visit.place);
    visit.newest = {};
    visit.cleared = true;
  }
  if (visit.cleared || harmless) trail = {.call = call, .ssl = ssl, .site = site};
  return visit;
}

void leave_dirty(const Library& library, const Visit& visit, const SSL* ssl, Call call,
                 const void* site, std::int64_t returned) {
  const ErrnoKept errno_kept;
  const bool harmless = clears_the_queue_itself(call);
  if (!visit.own && !visit.cleared && !harmless && !failed(call, returned)) return;
  const Ends left = read_ends(library, state_of(library));
  const Failure failure{.call = call,
                        .returned = returned,
                        .refused = was_refused_since(left.newest, visit.newest),
                        .oldest = left.oldest.code};
  if (visit.own) return leave_own(library, ssl, site, failure);
  if (visit.cleared || harmless) leave_clean(library, call, ssl, site);
  if (harmless || !failed(call, returned)) return;
  if (visit.place != nullptr) note_outcome(library, visit, ssl, failure);
  if (!visit.cleared) trail.judged = ssl;
}

bool settle_verdict(const Library& library, const SSL* ssl, int result, const void* site) {
  const ErrnoKept errno_kept;
  if (library.peek_error() == 0) return false;
  const bool is_last = trail.ssl == ssl;
  const Failure failure{.call = is_last ? trail.call : Call::kGetError,
                        .returned = result,
                        .refused = is_last && holds_refusal(read_queue(library))};
  if (!misleads(judge(library, Call::kGetError, ssl, failure))) {
    // What leave_clean() was not asked to look at, since the connection seemed to be healthy.
    const bool seemed_healthy = only_wants_to_be_repeated(library, ssl);
    if (seemed_healthy && is_last) leave_clean(library, trail.call, ssl, trail.site);
    return false;
  }
  if (trail.judged != ssl) {
    settle_misleading(library, Call::kGetError, ssl, site, failure);
  } else if (mode() == Mode::kCure) {
    library.clear_error();
  }
  return mode() == Mode::kCure;
}

bool is_nested(const Library& library, Call call, const SSL* ssl, const void* site) {
  return trail.ssl == ssl && is_part_of(call, trail.call) && is_within(library, site);
}

void leave_clean(const Library& library, Call call, const SSL* ssl, const void* site) {
  const ErrnoKept errno_kept;
  if (library.peek_error() == 0) return;
  // If a fiber was switched within the call, the trail may be another call's by now.
  const bool nested = is_part_of(trail.call, call) && is_within(library, trail.site);
  if (trail.ssl != ssl || (trail.site != site && !nested)) return;
  trail = {.call = call, .ssl = ssl, .site = site, .left_entries = true};
  left_entry = read_ends(library, state_of(library)).oldest;
  note_call(left_entry, site);
}

void settle_pending(const Library& library, const SSL* ssl, int result) {
  const ErrnoKept errno_kept;
  const Call call = trail.ssl == ssl ? trail.call : Call::kGetError;
  const Verdict verdict =
      judge(library, Call::kGetError, ssl, {.call = call, .returned = result, .refused = false});
  if (!is_truthful(verdict)) return;
  Place& place = *pending;
  pending = nullptr;
  if (is_marked_emptied(library)) count_outcome(library, place, ssl, verdict);
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
  begin_seeing();
  begin_noting_origins();
  begin_provoking();
  // The child's first call is to take the long way, where it is seen.
  (void)pthread_atfork(nullptr, nullptr, [] {
    begin_seeing_anew();
    forget_own_process();
    pending = nullptr;  // It is the parent's.
    begin_provoking_anew();
    forget_last_library();
  });
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
