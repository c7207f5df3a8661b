// A run: runtimes full of connections, and somebody who watches that they go on.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "torture/contexts.h"

namespace heddle::torture {

struct Options {
  std::uint64_t seed = 1;
  int seconds = 10;
  int connections = 60;  // At the same time, in each runtime.
  int patience = 120;    // Seconds without progress after which a connection, or a runtime, hangs.
  bool threads = false;
};

class Run {
 public:
  Run(const Options& options, Shared& shared);
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() = default;

  void one_runtime();
  void several_threads();

 private:
  // A runtime in which connections follow each other until the time is over or somebody stops it.
  void live(std::uint64_t seed);
  void lane(World& world, std::uint64_t seed);
  void offload(World& world, std::uint64_t seed);
  void check(const World& world) const;

  // On a thread of its own: hangs of whole runtimes, and what other threads may do to a runtime.
  void watch();
  void meddle(Rng& rng);
  bool over() const { return WallClock::now() >= end_; }

  const Options options_;
  Shared& shared_;
  const WallClock::time_point end_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<World*> worlds_;
  bool done_ = false;
};

}  // namespace heddle::torture
