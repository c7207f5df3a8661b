// What it means that a call has failed: see verdict.h.
#include "guard/verdict.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace heddle::guard {
namespace {

bool is_refusal(unsigned long code) {
  constexpr std::array kReasons = {
      SSL_R_BAD_LENGTH,
      SSL_R_BAD_WRITE_RETRY,
      SSL_R_CONNECTION_TYPE_NOT_SET,
      SSL_R_PROTOCOL_IS_SHUTDOWN,
      SSL_R_SHUTDOWN_WHILE_IN_INIT,
      SSL_R_UNINITIALIZED,
      ERR_R_PASSED_INVALID_ARGUMENT,
      ERR_R_PASSED_NULL_PARAMETER,
      ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED,
  };
  return ERR_GET_LIB(code) == ERR_LIB_SSL &&
         std::find(kReasons.begin(), kReasons.end(), ERR_GET_REASON(code)) != kReasons.end();
}

// After a fatal error OpenSSL sends an alert, and if that has to wait, SSL_want() says so.
bool is_dead(const Library& library, const SSL* ssl) {
  return std::string_view(library.state_string(ssl)) == "SSLERR";
}

// The peer's close_notify leaves no entry. What else may be the end of a read is fatal.
bool has_ended(const Library& library, const SSL* ssl, Call call) {
  return reads(call) && (library.get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

bool is_failure(int seen) {
  return seen == SSL_ERROR_SSL || seen == SSL_ERROR_SYSCALL;
}

Outcome classify(const Library& library, const SSL* ssl, const Failure& failure, int seen) {
  if (failure.refused || is_dead(library, ssl)) return Outcome::kFailed;
  if (has_ended(library, ssl, failure.call)) return Outcome::kEnded;
  if (!only_wants_to_be_repeated(library, ssl)) return Outcome::kFailed;
  return is_failure(seen) ? Outcome::kSpurious : Outcome::kSaved;
}

// What SSL_get_error() says. It only peeks, but to ask it takes as long as the rest of a verdict.
int what_is_seen(const Library& library, const SSL* ssl, const Failure& failure) {
  if (failure.oldest == 0 || failure.returned > 0 || !library.entries_come_first) {
    return library.get_error(ssl, static_cast<int>(failure.returned));
  }
  return ERR_GET_LIB(failure.oldest) == ERR_LIB_SYS ? SSL_ERROR_SYSCALL : SSL_ERROR_SSL;
}

std::atomic<std::uint64_t>& counter_of(Place& place, Outcome outcome) {
  switch (outcome) {
    case Outcome::kSpurious:
      return place.spurious;
    case Outcome::kSaved:
      return place.saved;
    case Outcome::kEnded:
      return place.ended;
    case Outcome::kFailed:
      break;
  }
  return place.failed;
}

}  // namespace

bool holds_refusal(const Entries& entries) {
  const auto* begin = entries.entries.begin();
  return std::any_of(begin, begin + entries.count,
                     [](const Entry& entry) { return is_refusal(entry.code); });
}

bool was_refused_since(const Entry& newest, const Entry& newest_before) {
  return is_refusal(newest.code) && !same(newest, newest_before);
}

Verdict judge(const Library& library, Call call, const SSL* ssl, const Failure& failure) {
  const int seen = what_is_seen(library, ssl, failure);
  return {.call = call,
          .outcome = classify(library, ssl, failure, seen),
          .seen = seen,
          .returned = failure.returned};
}

bool is_truthful(const Verdict& verdict) {
  return verdict.outcome != Outcome::kFailed && !is_failure(verdict.seen);
}

bool is_power_of_ten(std::uint64_t number) {
  while (number >= 10 && number % 10 == 0) number /= 10;
  return number == 1;
}

void count_outcome(const Library& library, Place& place, const SSL* ssl, const Verdict& verdict) {
  const std::uint64_t times = ++counter_of(place, verdict.outcome);
  if (times == 1) {
    report_outcome(place, ssl,
                   {.call = verdict.call,
                    .outcome = verdict.outcome,
                    .returned = verdict.returned,
                    .wanted = library.want(ssl),
                    .seen = verdict.seen});
  } else if (is_power_of_ten(times)) {
    report_count(place);
  }
}

}  // namespace heddle::guard
