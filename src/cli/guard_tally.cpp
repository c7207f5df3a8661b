// What the processes of a watched command have found: see guard_tally.h.
#include "cli/guard_tally.h"

#include <algorithm>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/guard_words.h"

namespace heddle::cli {
namespace {

using Json = nlohmann::json;

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

void update(GuardCounts& counts, const Json& event) {
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

// The worst first, and of equals what was met first.
template <typename T>
void sort_by_harm(std::vector<T>& items) {
  std::stable_sort(items.begin(), items.end(), [](const T& left, const T& right) {
    return left.counts.harm() > right.counts.harm();
  });
}

// The element of `items` that `known` has for `key`; a new one if it has none.
template <typename T>
T& find_or_add(std::vector<T>& items, std::map<std::string, std::size_t>& known,
               const std::string& key, const T& fresh) {
  const auto [found, is_new] = known.try_emplace(key, items.size());
  if (is_new) items.push_back(fresh);
  return items[found->second];
}

}  // namespace

GuardCounts& GuardCounts::operator+=(const GuardCounts& other) {
  times += other.times;
  spurious += other.spurious;
  saved += other.saved;
  ended += other.ended;
  failed += other.failed;
  return *this;
}

void GuardTally::add(const Json& event) {
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
  } else if (kind == "provoked") {
    provoked_[process] = event.value("times", std::uint64_t{0});
    had_turns_ = true;
  } else if (kind == "exit") {
    provoked_[process] = std::max(provoked_[process], event.value("provoked", std::uint64_t{0}));
    had_turns_ = had_turns_ || event.value("turns", false);
    open_.erase(process);
    add_exit(event);
  } else if (const auto found = current_.find(key); found != current_.end()) {
    update(instances_[found->second].place.counts, event);
  }
}

GuardTally::Instance GuardTally::instance_of(const Json& event) {
  const Json entries = event.value("entries", Json::array());
  const Json origin = entries.empty() ? Json() : entries.front().value("origin", Json());
  Instance instance;
  instance.leaker = describe_leaker(event, symbols_);
  instance.greenlet = describe_greenlet(origin);
  instance.is_python = !event.value("python", Json::array()).empty();
  instance.is_provoked = origin.is_object() && text_of(origin, "how") == "provoked";
  instance.process = event.value("pid", std::int64_t{0});
  GuardPlace& place = instance.place;
  place.victim = describe_victim(event, symbols_);
  place.connection = describe_connection(event.value("connection", Json::object()));
  place.entry = entries.empty() ? "" : describe_entry(entries.front());
  place.program = text_of(event, "program");
  place.cleared = event.value("cleared", false);
  place.counts.times = 1;
  return instance;
}

std::uint64_t GuardTally::times_provoked() const {
  std::uint64_t times = 0;
  for (const auto& [process, count] : provoked_) times += count;
  return times;
}

std::vector<GuardLeaker> GuardTally::leakers() const {
  std::vector<GuardLeaker> leakers;
  std::map<std::string, std::size_t> known;
  std::vector<std::map<std::string, std::size_t>> known_places;
  for (const Instance& instance : instances_) {
    GuardLeaker fresh{.name = instance.leaker,
                      .is_provoked = instance.is_provoked,
                      .greenlet = instance.greenlet,
                      .is_python = instance.is_python,
                      .entries = {},
                      .counts = {},
                      .places = {}};
    GuardLeaker& leaker = find_or_add(leakers, known, instance.leaker, fresh);
    known_places.resize(leakers.size());
    GuardPlace fresh_place = instance.place;
    fresh_place.counts = {};
    GuardPlace& place = find_or_add(leaker.places, known_places[known.at(instance.leaker)],
                                    instance.place.victim, fresh_place);
    place.counts += instance.place.counts;
    place.processes.insert(instance.process);
    leaker.entries.insert(instance.place.entry);
    leaker.counts += instance.place.counts;
  }
  for (GuardLeaker& leaker : leakers) sort_by_harm(leaker.places);
  sort_by_harm(leakers);
  return leakers;
}

std::string GuardTally::missing() const {
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

std::string GuardTally::nothing_found() const {
  if (watched()) {
    return fmt::format("no TLS call was made with a stale error in the queue (watched: {})",
                       joined(watched_));
  }
  return "watched nothing: " + why_nothing();
}

void GuardTally::add_exit(const Json& event) {
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

std::string GuardTally::why_nothing() const {
  if (!started_) return "the guard was not loaded anywhere";
  if (programs_.empty()) return "no TLS call was seen";
  if (!with_old_openssl_.empty()) {
    return fmt::format("TLS calls in {} did not go to an OpenSSL 3 or 4; others cannot be watched",
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

}  // namespace heddle::cli
