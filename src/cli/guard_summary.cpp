// What the guard found in all processes of a command: see guard_summary.h.
#include "cli/guard_summary.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace heddle::cli {
namespace {

using Json = nlohmann::json;

struct Counts {
  std::uint64_t times = 0;
  std::uint64_t spurious = 0;
  std::uint64_t saved = 0;
  std::uint64_t ended = 0;
  std::uint64_t failed = 0;
};

// How often a program was misled by an entry, or would have been.
std::uint64_t harm_of(const Counts& counts) {
  return counts.spurious + counts.saved + counts.ended;
}

// A place in one process. Its counts only grow, and what comes last may be lost with the process.
struct Instance {
  std::string title;
  std::string entry;
  std::string left;
  std::string program;
  std::int64_t process = 0;
  bool cleared = false;
  Counts counts;
};

// The same place in all processes.
struct Place {
  Instance example;
  Counts counts;
  std::set<std::int64_t> processes;
};

// Other users' processes may have written it, and it goes to a terminal.
std::string text_of(const Json& object, const char* name) {
  std::string text = object.value(name, "");
  for (char& character : text) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte < 0x20 || byte >= 0x7f) character = '?';
  }
  return text;
}

class Tally {
 public:
  // Throws Json::exception if a member is of another type than it should be.
  void add(const Json& event) {
    const std::string kind = text_of(event, "event");
    const auto process = event.value("pid", std::int64_t{0});
    const Key key(process, event.value("place", 0));
    if (kind == "dirty") {
      // A process number may come again, or go on with another program.
      current_[key] = instances_.size();
      instances_.push_back(instance_of(event));
    } else if (kind == "start") {
      open_[process] = text_of(event, "program");  // Perhaps in place of another program.
      started_ = true;
    } else if (kind == "watched") {
      open_[process] = text_of(event, "program");  // Perhaps it was forked, and not started.
      watched_.insert(open_[process]);
    } else if (kind == "exit") {
      open_.erase(process);
      add_exit(event);
    } else if (const auto found = current_.find(key); found != current_.end()) {
      update(instances_[found->second].counts, event);
    }
  }

  [[nodiscard]] std::vector<Place> places() const {
    std::vector<Place> result;
    std::map<std::string, std::size_t> known;
    for (const Instance& instance : instances_) {
      const auto [found, is_new] =
          known.try_emplace(instance.title + instance.entry, result.size());
      if (is_new) result.push_back({.example = instance, .counts = {}, .processes = {}});
      Place& place = result[found->second];
      place.counts.times += instance.counts.times;
      place.counts.spurious += instance.counts.spurious;
      place.counts.saved += instance.counts.saved;
      place.counts.ended += instance.counts.ended;
      place.counts.failed += instance.counts.failed;
      place.processes.insert(instance.process);
    }
    // The worst first, and of equals what was met first.
    std::stable_sort(result.begin(), result.end(), [](const Place& left, const Place& right) {
      return harm_of(left.counts) > harm_of(right.counts);
    });
    return result;
  }

  // True if a TLS call was seen that could be judged.
  [[nodiscard]] bool watched() const { return !watched_.empty(); }

  // What is missing, whatever else was found; "" if nothing is.
  [[nodiscard]] std::string missing() const {
    std::string text;
    if (!with_namespaces_.empty()) {
      text += fmt::format(
          "  Not seen: TLS calls in libraries that dlmopen() has loaded into a namespace of their "
          "own, in {}\n",
          joined(with_namespaces_));
    }
    if (!open_.empty()) {
      std::set<std::string> names;
      for (const auto& [process, program] : open_) names.insert(program);
      text += fmt::format(
          "  Not complete: {} process{} ended without an account (killed, left at once, became a "
          "program that the guard is not in), or still run{}: {}\n",
          open_.size(), open_.size() == 1 ? "" : "es", open_.size() == 1 ? "s" : "", joined(names));
    }
    return text;
  }

  [[nodiscard]] std::string nothing_found() const {
    if (watched()) {
      return fmt::format("no TLS call was made with a stale error in the queue (watched: {})",
                         joined(watched_));
    }
    return "watched nothing: " + why_nothing();
  }

 private:
  using Key = std::pair<std::int64_t, int>;  // The process, and its number of the place.

  void add_exit(const Json& event) {
    const std::string program = text_of(event, "program");
    const auto add_if = [&](const char* name, std::set<std::string>& programs) {
      if (event.value(name, false)) programs.insert(program);
    };
    add_if("saw_calls", watched_);
    add_if("unwatched_calls", with_old_openssl_);
    add_if("openssl_inside", with_openssl_inside_);
    add_if("other_namespaces", with_namespaces_);
    programs_.insert(program);
    if (!text_of(event, "openssl").empty()) with_openssl_.insert(program);
  }

  [[nodiscard]] std::string why_nothing() const {
    if (!started_) return "the guard was not loaded anywhere";
    if (programs_.empty()) return "no TLS call was seen";
    if (!with_old_openssl_.empty()) {
      return fmt::format(
          "TLS calls in {} did not go to an OpenSSL 3 or 4; others cannot be watched",
          joined(with_old_openssl_));
    }
    if (!with_openssl_inside_.empty()) {
      return fmt::format(
          "{} has an OpenSSL of its own inside, linked statically; that cannot be watched",
          joined(with_openssl_inside_));
    }
    if (!with_openssl_.empty()) {
      return fmt::format(
          "no TLS call was seen, though OpenSSL was loaded in {}: it made none, or "
          "found the functions with dlsym(), or calls through BIOs",
          joined(with_openssl_));
    }
    return fmt::format(
        "no TLS call was seen, and no libssl was loaded in {}: OpenSSL is linked "
        "statically there, or another library is used, or no TLS",
        joined(programs_));
  }

  static std::string joined(const std::set<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
  }

  static std::string describe_spot(const Json& spot) {
    if (!spot.contains("module")) return text_of(spot, "address");
    std::string text = text_of(spot, "module") + "+" + text_of(spot, "offset");
    const std::string function = text_of(spot, "function");
    return function.empty() ? text : text + " (" + function + ")";
  }

  static std::string describe_entry(const Json& entry) {
    return fmt::format("error:{}:{}::{}, pushed by {}() at {}:{}", text_of(entry, "code"),
                       text_of(entry, "library"), text_of(entry, "reason"),
                       text_of(entry, "function"), text_of(entry, "file"), entry.value("line", 0));
  }

  static std::string describe_left(const Json& left) {
    if (!left.is_object()) return "code before the first TLS call of its thread";
    const std::string call =
        text_of(left, "call") + " called from " + describe_spot(left.value("site", Json::object()));
    return text_of(left, "when") == "by" ? call : "code that ran during or after " + call;
  }

  static Instance instance_of(const Json& event) {
    const Json frames = event.value("backtrace", Json::array());
    const Json entries = event.value("entries", Json::array());
    Instance instance;
    instance.title = text_of(event, "call") + " called from " +
                     (frames.empty() ? "?" : describe_spot(frames.front()));
    instance.entry = entries.empty() ? "" : describe_entry(entries.front());
    instance.left = describe_left(event.value("left", Json()));
    instance.program = text_of(event, "program");
    instance.process = event.value("pid", std::int64_t{0});
    instance.cleared = event.value("cleared", false);
    instance.counts.times = 1;
    return instance;
  }

  static void update(Counts& counts, const Json& event) {
    const std::string outcome = text_of(event, "outcome");
    const auto raise = [&](const char* name, std::uint64_t& count) {
      count = std::max(count, event.value(name, std::uint64_t{outcome == name ? 1U : 0U}));
    };
    raise("times", counts.times);
    raise("spurious", counts.spurious);
    raise("saved", counts.saved);
    raise("ended", counts.ended);
    raise("failed", counts.failed);
  }

  std::vector<Instance> instances_;
  std::map<Key, std::size_t> current_;
  std::map<std::int64_t, std::string> open_;  // Processes that have not ended, and their programs.
  bool started_ = false;
  // Names of programs.
  std::set<std::string> watched_;
  std::set<std::string> programs_;
  std::set<std::string> with_old_openssl_;
  std::set<std::string> with_openssl_inside_;
  std::set<std::string> with_openssl_;
  std::set<std::string> with_namespaces_;
};

std::string consequences(const Counts& counts, bool cleared) {
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
std::string describe_cure(const std::vector<Place>& places) {
  if (!places.front().example.cleared) return "";
  std::uint64_t saved = 0;
  for (const Place& place : places) saved += place.counts.saved;
  if (saved == 0) return "  No healthy connection is known that would have been called dead.\n";
  return fmt::format(
      "  Without the cure, healthy connections would have been called dead at least {} time{}.\n",
      saved, saved == 1 ? "" : "s");
}

std::string describe(std::size_t number, const Place& place) {
  const Instance& example = place.example;
  return fmt::format(
      "  {}. {}, in {} ({} process{})\n"
      "     {} calls{}\n"
      "     the entry: {}\n"
      "     left by:   {}\n",
      number, example.title, example.program, place.processes.size(),
      place.processes.size() == 1 ? "" : "es", place.counts.times,
      consequences(place.counts, example.cleared), example.entry, example.left);
}

constexpr std::string_view kAdvice =
    "  What to do: where the entry is left, read or clear the errors of a failed call\n"
    "  (ERR_clear_error()); before each TLS call whose result goes to SSL_get_error, clear what\n"
    "  others left. Until then, `heddle guard --cure` does the latter.\n";  // tidy: advice, no
                                                                            // call.

}  // namespace

GuardSummary summarize(const TallyFile& file) {
  Tally tally;
  file.for_each_line([&tally](std::string_view line) {
    const Json event = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) return;
    try {
      tally.add(event);
    } catch (const Json::exception&) {
      return;  // Not of our making.
    }
  });
  const std::vector<Place> places = tally.places();
  if (places.empty()) {
    return {.watched = tally.watched(),
            .text = "heddle guard: " + tally.nothing_found() + "\n" + tally.missing()};
  }
  std::string text = fmt::format(
      "heddle guard: {} place{} where TLS calls met stale errors in OpenSSL's queue{}\n",
      places.size(), places.size() == 1 ? "" : "s",
      places.front().example.cleared ? "; they were cleared" : "");
  text += describe_cure(places);
  for (std::size_t i = 0; i < places.size(); ++i) text += describe(i + 1, places[i]);
  return {.places = places.size(),
          .watched = true,
          .text = text + tally.missing() + std::string(kAdvice)};
}

}  // namespace heddle::cli
