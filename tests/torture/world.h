// What a torture run shares: random numbers, the pattern of bytes, faults and counts.
#pragma once

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/err.h>

#include "heddle/heddle.h"

namespace heddle::torture {

using Micros = std::chrono::microseconds;
using WallClock = std::chrono::steady_clock;  // For the length of a run and hangs, nothing else.

// Numbers that a seed determines.
class Rng {
 public:
  explicit Rng(std::uint64_t seed);
  std::uint64_t next() { return engine_(); }
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : engine_() % limit; }
  bool one_in(std::size_t n) { return below(n) == 0; }
  // From 1 to `max`; each power of two is as likely as any other.
  std::size_t size(std::size_t max);

 private:
  std::mt19937_64 engine_;
};

std::uint64_t mix(std::uint64_t x);

// The byte at `position` of the stream that `seed` names.
std::byte pattern_at(std::uint64_t seed, std::uint64_t position);
std::vector<std::byte> pattern(std::uint64_t seed, std::uint64_t position, std::size_t count);

// Report collects what a run finds. Threads: any.
class Report {
 public:
  explicit Report(std::uint64_t seed) : seed_(seed) {}
  void fault(const std::string& what);
  [[noreturn]] void fatal(const std::string& what, const std::string& details);
  void count(const std::string& what);
  std::size_t faults() const;
  void print() const;
  std::uint64_t seed() const { return seed_; }

 private:
  const std::uint64_t seed_;
  mutable std::mutex mutex_;
  std::size_t faults_ = 0;
  std::map<std::string, long> counts_;
};

// What the watchdog can say of a connection.
class Watched {
 public:
  virtual ~Watched() = default;
  virtual std::string describe() const = 0;

  // Whether nothing has moved for so long. A connection of one byte at a time may live for minutes
  // where the machine is busy. For one watchdog.
  bool hangs(std::chrono::seconds longest) const {
    const auto now = WallClock::now();
    if (const std::uint64_t moves = this->moves(); moves != moves_) {
      moves_ = moves;
      since_ = now;
    }
    return now - since_ >= longest;
  }

 private:
  // How often bytes were moved, as far as that is seen.
  virtual std::uint64_t moves() const { return 0; }

  mutable std::uint64_t moves_ = 0;
  mutable WallClock::time_point since_ = WallClock::now();
};

struct Shared;

// World is one runtime and what its fibers share.
struct World {
  World(Shared& what, Runtime& where, std::uint64_t seed);

  // That of the calling thread. Callbacks of shared contexts have no other way to find it.
  static World& here();
  static void enter(World* world);

  const std::uint64_t number;  // No other world has it.
  Shared& shared;
  Runtime& runtime;
  Rng rng;
  Mutex mutex;
  std::vector<const Watched*> live;
  std::atomic<bool> stopping = false;  // Somebody has called Runtime::stop().
  std::atomic<std::int64_t> beats = 0;
  int next = 0;
};

// RandomConnection is what kinds of connections have in common. The watchdog knows of it as long as
// it is there.
class RandomConnection : public Watched {
 public:
  RandomConnection(World& world, int id, std::uint64_t seed);
  RandomConnection(const RandomConnection&) = delete;
  RandomConnection& operator=(const RandomConnection&) = delete;
  ~RandomConnection() override;

 protected:
  void fault(const std::string& what);
  bool excused() const { return disturbed_ || dead_ || world_.stopping; }

  World& world_;
  Report& report_;
  const int id_;
  const std::uint64_t seed_;
  Rng rng_;
  std::string name_;        // Transports and contexts.
  bool disturbed_ = false;  // It may fail: only what was received must be right.
  bool dead_ = false;
};

// Planned is what callbacks throw.
struct Planned {};

// Checks that the caller's entries in OpenSSL's error queue, and no others, are there after a call.
class EntriesCheck {
 public:
  EntriesCheck(Report& report, Rng& rng);
  void done(const char* call);

 private:
  Report& report_;
  unsigned long code_ = 0;
};

// Makes a call of the library: at times with entries in the error queue, or inside a handler of an
// exception. A planned exception that comes out is turned into an Error.
template <typename Call>
auto checked(Report& report, Rng& rng, const char* name, Call call) -> decltype(call()) {
  const auto attempt = [&]() -> decltype(call()) {
    try {
      return call();
    } catch (const Planned&) {
      report.count("planned exceptions");
      return Error{.code = Errc::kInternal, .operation = "a callback that threw"};
    }
  };
  EntriesCheck entries(report, rng);
  if (!rng.one_in(12)) {
    auto result = attempt();
    entries.done(name);
    return result;
  }
  const std::uint64_t thrown = rng.next();
  try {
    throw thrown;
  } catch (const std::uint64_t& caught) {
    auto result = attempt();
    if (caught != thrown) report.fault(std::string(name) + ": the caller's exception changed");
    try {
      throw;
    } catch (const std::uint64_t& again) {
      if (again != thrown) report.fault(std::string(name) + ": another exception is in flight");
    } catch (const Planned&) {
      report.fault(std::string(name) + ": an exception of another call is in flight");
    }
    entries.done(name);
    return result;
  }
}

// Parks for a random time, up to `most`.
void nap(Rng& rng, Micros most);

}  // namespace heddle::torture
