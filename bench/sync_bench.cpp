// What it costs to hand a value to another fiber, and to take a lock.
//
// BM_Channel: one fiber pushes, another pops; `items` are values. With room for one value
// each of them parks for every value; with room for 64, once in a while. BM_Yield is
// the switch there and back, for scale. BM_MutexFree: nobody else wants it, so it is the
// price of being able to. BM_MutexHandedOver: two fibers that always find it locked.
//
// Left out: many waiters, and deadlines (timer_bench).
//
//   sync_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=9
#include <cstddef>
#include <cstdint>

#include <benchmark/benchmark.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"
#include "heddle/sync.h"

namespace heddle {
namespace {

// Runs `partner()` in a fiber and then `body()` in another.
template <typename Partner, typename Body>
void run_fibers(Partner partner, Body body) {
  auto runtime = Runtime::create().value();
  runtime.spawn("partner", partner).value();
  runtime.spawn("benchmark", body).value();
  runtime.run();
}

void BM_Channel(benchmark::State& state) {
  Channel<std::int64_t> channel(static_cast<std::size_t>(state.range(0)));
  std::int64_t sum = 0;
  run_fibers(
      [&] {
        while (const auto value = channel.pop().value()) sum += *value;
      },
      [&] {
        for (auto _ : state) channel.push(1).value();
        channel.close();
      });
  if (sum != state.iterations()) state.SkipWithError("values were lost");
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Channel)->ArgName("room")->Arg(1)->Arg(64);

void BM_Yield(benchmark::State& state) {
  bool done = false;
  run_fibers(
      [&] {
        while (!done) this_fiber::yield().value();
      },
      [&] {
        for (auto _ : state) this_fiber::yield().value();
        done = true;
      });
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Yield);

void BM_MutexFree(benchmark::State& state) {
  Mutex mutex;
  run_fibers([] {},
             [&] {
               for (auto _ : state) {
                 const Mutex::Lock lock = mutex.lock().value();
                 benchmark::DoNotOptimize(&lock);
               }
             });
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_MutexFree);

void BM_MutexHandedOver(benchmark::State& state) {
  Mutex mutex;
  bool done = false;
  const auto hold = [&] {
    const Mutex::Lock lock = mutex.lock().value();
    this_fiber::yield().value();
  };
  run_fibers(
      [&] {
        while (!done) hold();
      },
      [&] {
        for (auto _ : state) hold();
        done = true;
      });
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_MutexHandedOver);

}  // namespace
}  // namespace heddle

BENCHMARK_MAIN();
