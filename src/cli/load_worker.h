// LoadWorker: what one thread of the load generator does.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "heddle/fiber.h"
#include "heddle/result.h"
#include "heddle/runtime.h"
#include "heddle/sync.h"

#include "base/unique_fd.h"
#include "cli/load_connection.h"
#include "cli/load_plan.h"
#include "cli/load_tally.h"

namespace heddle::cli {

// What other threads may look at while a worker goes on. Apart, so that they do not slow it down.
struct alignas(64) LoadLive {
  std::atomic<std::uint64_t> opened{0};
  std::atomic<std::uint64_t> answers{0};
  std::atomic<std::uint64_t> failures{0};
};

// LoadCrew is how the threads wait for each other: none begins before all connections are open, and
// none closes its own before the others have their answers. So what is seen of the server between
// the two is the load alone.
struct LoadCrew {
  std::atomic<std::size_t> ready{0};
  std::atomic<std::size_t> finished{0};
  std::function<void()> begin;  // Called by the first thread when that is so.
  std::function<void()> end;
};

// LoadWorker opens its share of the connections, waits until the other threads have theirs, and
// then lets each send requests from a fiber of its own: one after the other, or, at a fixed rate,
// whichever connection is free when the next is due. So a server that stalls does not make requests
// wait to be counted: their latency runs from when they were due ("coordinated omission").
//
// Threads: that of its runtime.
class LoadWorker {
 public:
  // All must outlive it.
  LoadWorker(Runtime& runtime, const LoadPlan& plan, std::size_t index, LoadTally& tally,
             LoadLive& live, LoadCrew& crew);

  // Fails only with what makes any load impossible: what happens to connections is in the tally.
  Result<void> run();

 private:
  Result<void> run_active(Scope& idle, Scope& active);
  Result<void> open_all(Scope& idle, Scope& active);
  Result<void> meet(std::atomic<std::size_t>& threads);
  Result<void> measure(Scope& active);
  void be_active();
  void send_all(LoadConnection& connection);
  void be_idle();
  bool prepare(LoadConnection& connection);
  std::optional<TimePoint> next_begin(TimePoint now);
  Result<void> keep_time();
  Result<void> sleep_exactly(TimePoint until);
  TimePoint due_time(std::uint64_t unit) const;
  void tell() noexcept;

  const LoadPlan& plan_;
  const std::size_t index_;
  LoadTally& tally_;
  LoadLive& live_;
  LoadCrew& crew_;
  LoadTarget target_;
  const std::size_t connections_;
  const std::size_t idle_;
  const std::uint64_t quota_;  // Of units; 0: none.

  Semaphore gate_;          // Limits handshakes that are made at once.
  WaitGroup opened_;        // Connections that have been tried.
  WaitGroup go_;            // Until units may begin.
  WaitGroup busy_;          // Connections that may still begin one.
  WaitGroup leave_;         // Until connections may be closed.
  std::size_t usable_ = 0;  // Connections that could be opened.

  TimePoint start_{};
  TimePoint end_{};
  TimePoint last_{};         // When the last answer was there.
  std::uint64_t begun_ = 0;  // Units.
  Semaphore due_;            // At a fixed rate: units that nobody has begun.
  bool over_ = false;
  UniqueFd timer_;
};

}  // namespace heddle::cli
