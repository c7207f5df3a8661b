// What the processes of a watched command have found, from the JSON lines that they left.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "cli/guard_symbols.h"

namespace heddle::cli {

struct GuardCounts {
  std::uint64_t times = 0;
  std::uint64_t spurious = 0;
  std::uint64_t saved = 0;
  std::uint64_t ended = 0;
  std::uint64_t failed = 0;

  GuardCounts& operator+=(const GuardCounts& other);
  // How often a program was misled by an entry, or would have been.
  [[nodiscard]] std::uint64_t harm() const { return spurious + saved + ended; }
};

// A call that meets an entry of one leaker's, in all processes.
struct GuardPlace {
  std::string victim;      // The call, and where it is made.
  std::string connection;  // An example.
  std::string entry;
  std::string program;
  bool cleared = false;
  GuardCounts counts;
  std::set<std::int64_t> processes;
};

// Whoever leaves entries, with those who meet them. The worst come first, in both.
struct GuardLeaker {
  std::string name;
  bool is_provoked = false;  // It is `--provoke`.
  std::string greenlet;      // "" if it is not known to be in one.
  bool is_python = false;
  std::set<std::string> entries;
  GuardCounts counts;
  std::vector<GuardPlace> places;
};

class GuardTally {
 public:
  // Takes one line. Throws nlohmann::json::exception if a member is of another type than it should
  // be.
  void add(const nlohmann::json& event);

  [[nodiscard]] std::vector<GuardLeaker> leakers() const;

  // True if a TLS call was seen that could be judged.
  [[nodiscard]] bool watched() const { return !watched_.empty(); }

  // How often --provoke has left entries, and whether there was a thread that serves connections in
  // turns.
  [[nodiscard]] std::uint64_t times_provoked() const;
  [[nodiscard]] bool had_turns() const { return had_turns_; }

  // What is missing, whatever else was found; "" if nothing is.
  [[nodiscard]] std::string missing() const;

  // Why there are no leakers.
  [[nodiscard]] std::string nothing_found() const;

 private:
  // A place in one process. Its counts only grow, and what comes last may be lost with the process.
  struct Instance {
    GuardPlace place;
    std::string leaker;
    std::string greenlet;
    bool is_python = false;
    bool is_provoked = false;
    std::int64_t process = 0;
  };
  using Key = std::pair<std::int64_t, int>;  // The process, and its number of the place.

  void add_exit(const nlohmann::json& event);
  Instance instance_of(const nlohmann::json& event);
  [[nodiscard]] std::string why_nothing() const;

  Symbols symbols_;
  std::vector<Instance> instances_;
  std::map<Key, std::size_t> current_;
  std::map<std::int64_t, std::string> open_;  // Processes that have not ended, and their programs.
  std::map<std::int64_t, std::uint64_t> provoked_;  // Per process.
  bool had_turns_ = false;
  bool started_ = false;
  // Names of programs.
  std::set<std::string> watched_;
  std::set<std::string> programs_;
  std::set<std::string> with_old_openssl_;
  std::set<std::string> with_openssl_inside_;
  std::set<std::string> with_openssl_;
  std::set<std::string> with_namespaces_;
};

}  // namespace heddle::cli
