// What the guard found in all processes of a command: see guard_summary.h.
#include "cli/guard_summary.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/guard_tally.h"

namespace heddle::cli {
namespace {

using Json = nlohmann::json;

std::string consequences(const GuardCounts& counts, bool cleared) {
  std::string text;
  const auto add = [&text](std::uint64_t count, std::string_view what) {
    if (count > 0) text += fmt::format("; {} times {}", count, what);
  };
  add(counts.spurious, "a healthy connection was called dead");
  add(counts.saved, "a healthy connection was saved from being called dead");
  add(counts.ended, cleared ? "an end in good order was saved from being called a failure"
                            : "an end in good order was called a failure");
  add(counts.failed, "a true failure may have been mistaken for the entry");
  if (!text.empty()) return text;
  return cleared ? "; no harm is known that would have come of it" : "; no harm was seen";
}

// A lower bound: not every verdict goes by SSL_get_error() of the guard.
std::string describe_cure(const std::vector<GuardLeaker>& leakers) {
  if (!leakers.front().places.front().cleared) return "";
  std::uint64_t saved = 0;
  for (const GuardLeaker& leaker : leakers) saved += leaker.counts.saved;
  if (saved == 0) return "  No healthy connection is known that would have been called dead.\n";
  return fmt::format(
      "  Without the cure, healthy connections would have been called dead at least {} time{}.\n",
      saved, saved == 1 ? "" : "s");
}

std::string describe(const GuardPlace& place) {
  return fmt::format(
      "     - {}, in {} ({} process{})\n"
      "       {} calls{}\n"
      "       a {}\n",
      place.victim, place.program, place.processes.size(), place.processes.size() == 1 ? "" : "es",
      place.counts.times, consequences(place.counts, place.cleared), place.connection);
}

std::string describe(std::size_t number, const GuardLeaker& leaker) {
  std::string text = fmt::format("  {}. left by: {}\n", number, leaker.name);
  if (!leaker.greenlet.empty()) text += fmt::format("     in greenlet: {}\n", leaker.greenlet);
  for (const std::string& entry : leaker.entries)
    text += fmt::format("     the entry: {}\n", entry);
  text += "     met by:\n";
  for (const GuardPlace& place : leaker.places) text += describe(place);
  return text;
}

constexpr std::string_view kAdvice =
    "  What to do: where the entry is left, read or clear the errors of a failed call\n"
    "  (ERR_clear_error()); before each TLS call whose result goes to SSL_get_error, clear what\n"
    "  others left. Until then, `heddle guard --cure` does the latter.\n";  // tidy: advice, no
                                                                            // call.

// There, nobody can clear the queue. But each thread has its own.
constexpr std::string_view kPythonAdvice =
    "  In Python: make the call that leaves it in a thread of its own (gevent: gevent.get_hub()\n"
    "  .threadpool.apply(); asyncio: loop.run_in_executor()), where no TLS connection is used.\n";

std::string advice(const std::vector<GuardLeaker>& leakers) {
  const bool python = std::any_of(leakers.begin(), leakers.end(),
                                  [](const GuardLeaker& leaker) { return leaker.is_python; });
  std::string text(kAdvice);
  return python ? text.append(kPythonAdvice) : text;
}

// Of healthy connections, of ends in good order, and of failures, for which another reason is told.
std::uint64_t changed_verdicts(const std::vector<GuardLeaker>& leakers) {
  std::uint64_t count = 0;
  for (const GuardLeaker& leaker : leakers) {
    if (!leaker.is_provoked) continue;
    count += leaker.counts.spurious + leaker.counts.failed;
    if (!leaker.places.front().cleared) count += leaker.counts.ended;
  }
  return count;
}

std::string describe_provocation(const GuardTally& tally, const std::vector<GuardLeaker>& leakers) {
  if (!tally.watched()) return "";
  if (!tally.had_turns()) {
    return "  Provoked nothing: no thread serves two connections in turns, so nobody else's code "
           "can "
           "come between their calls.\n";
  }
  const std::uint64_t times = tally.times_provoked();
  const std::uint64_t changed = changed_verdicts(leakers);
  return fmt::format("  Provoked {} time{}: {} verdict{} changed by it.\n", times,
                     times == 1 ? "" : "s", changed == 0 ? "no" : std::to_string(changed),
                     changed == 1   ? " was"
                     : changed == 0 ? " was"
                                    : "s were");
}

}  // namespace

GuardSummary summarize(const TallyFile& file, bool provoked) {
  GuardTally tally;
  file.for_each_line([&tally](std::string_view line) {
    const Json event = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) return;
    try {
      tally.add(event);
    } catch (const Json::exception&) {
      return;  // Not of our making.
    }
  });
  const std::vector<GuardLeaker> leakers = tally.leakers();
  const std::string provocation = provoked ? describe_provocation(tally, leakers) : "";
  if (leakers.empty()) {
    return {
        .watched = tally.watched(),
        .text = "heddle guard: " + tally.nothing_found() + "\n" + provocation + tally.missing()};
  }
  std::size_t places = 0;
  for (const GuardLeaker& leaker : leakers) places += leaker.places.size();
  std::string text = fmt::format(
      "heddle guard: {} place{} where TLS calls met stale errors in OpenSSL's queue, which {} "
      "place{} left there{}\n",
      places, places == 1 ? "" : "s", leakers.size(), leakers.size() == 1 ? "" : "s",
      leakers.front().places.front().cleared ? "; they were cleared" : "");
  text += describe_cure(leakers);
  for (std::size_t i = 0; i < leakers.size(); ++i) text += describe(i + 1, leakers[i]);
  return {.places = places,
          .watched = true,
          .changed = changed_verdicts(leakers),
          .text = text + provocation + tally.missing() + advice(leakers)};
}

}  // namespace heddle::cli
