// What deadlines cost. Most are never reached, so BM_ParkAndWake is the one that matters: a
// fiber is parked and woken by another, with no deadline or with one that is always a
// minute away and moves on each time, beside others' timers that stay; one iteration parks
// each of two fibers once. Their ratio is what a deadline costs.
//
// BM_ReachedTimers: fibers that sleep for random spans, a million spans per iteration.
//
// Time is virtual: left out are the clock and epoll_wait()'s own timer.
//
//   timer_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=9
#include <cstdint>
#include <memory>
#include <random>
#include <type_traits>
#include <utility>

#include <benchmark/benchmark.h>

#include "heddle/fiber.h"

#include "fiber/scheduler.h"

namespace heddle {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;

// Jumps to the next deadline when nothing else is left to do.
class VirtualTime final : public fiber::Source {
 public:
  TimePoint now() const noexcept override { return now_; }
  void wait(Deadline until) override {
    if (until.time() > now_) now_ = until.time();
  }

 private:
  TimePoint now_{};
};

template <typename Body>
void run_fiber(Body body) {
  VirtualTime source;
  fiber::Scheduler scheduler(source);
  const auto task = detail::make_task_state(std::move(body));
  scheduler.spawn({.name = "benchmark"}, task, /*scope=*/nullptr).value();
  scheduler.run();
}

// Two fibers that wake each other and park until `deadline_at(round)`.
template <typename DeadlineAt>
void park_and_wake(benchmark::State& state, DeadlineAt deadline_at) {
  fiber::Scheduler& scheduler = fiber::Scheduler::current();
  fiber::Fiber& self = scheduler.running_fiber();
  fiber::Fiber* partner = nullptr;
  std::int64_t round = 0;
  bool done = false;
  scope([&](Scope& partners) {
    partners
        .spawn("partner",
               [&] {
                 partner = &scheduler.running_fiber();
                 while (!done) {
                   scheduler.wake(self);
                   (void)scheduler.park(deadline_at(round));
                 }
               })
        .value();
    this_fiber::yield().value();
    for (auto _ : state) {
      ++round;
      scheduler.wake(*partner);
      (void)scheduler.park(deadline_at(round));
    }
    done = true;
    scheduler.wake(*partner);
  });
  state.SetItemsProcessed(state.iterations() * 2);
}

void BM_ParkAndWake_NoDeadline(benchmark::State& state) {
  run_fiber([&] { park_and_wake(state, [](std::int64_t) { return Deadline::never(); }); });
}
BENCHMARK(BM_ParkAndWake_NoDeadline);

void BM_ParkAndWake_FarDeadline(benchmark::State& state) {
  run_fiber([&] {
    scope([&](Scope& others) {
      for (std::int64_t i = 0; i < state.range(0); ++i) {
        const Deadline late = this_fiber::after(hours(1) + microseconds(i));
        others.spawn("other", [late] { (void)this_fiber::sleep_until(late); }).value();
      }
      this_fiber::yield().value();
      const TimePoint start = this_fiber::now();
      park_and_wake(state, [start](std::int64_t round) {
        return Deadline::at(start + minutes(1) + microseconds(round));
      });
      others.cancel();
    });
  });
}
BENCHMARK(BM_ParkAndWake_FarDeadline)->ArgName("others")->Arg(0)->Arg(10000);

void BM_ReachedTimers(benchmark::State& state) {
  constexpr std::int64_t kTimers = 1000000;
  const auto sleepers = state.range(0);
  std::mt19937_64 prng(/*seed=*/42);
  std::int64_t reached = 0;
  run_fiber([&] {
    scope([&](Scope& asleep) {
      for (std::int64_t i = 0; i < sleepers; ++i) {
        asleep
            .spawn("sleeper",
                   [&] {
                     std::uniform_int_distribution<int> span(1, 1000000);
                     const auto next = [&] {
                       return this_fiber::after(std::chrono::nanoseconds(span(prng)));
                     };
                     while (this_fiber::sleep_until(next())) ++reached;
                   })
            .value();
      }
      this_fiber::yield().value();
      // A sleeper needs half a millisecond for each, on average.
      const Duration longest = milliseconds(1) * kTimers / sleepers / 2;
      for (auto _ : state) this_fiber::sleep_until(this_fiber::after(longest)).value();
      state.SetItemsProcessed(reached);
      asleep.cancel();
    });
  });
}
BENCHMARK(BM_ReachedTimers)
    ->ArgName("sleepers")
    ->Arg(100)
    ->Arg(10000)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace heddle

BENCHMARK_MAIN();
