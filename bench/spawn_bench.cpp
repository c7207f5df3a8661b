// What it costs to start a fiber and to join it, its entry being empty: one at a time, when
// record and stack come from where the last one left them, and many at once, when most
// stacks must come from the pool's cold shelf or from the kernel. `items` are fibers.
//
// Left out: what an entry does, and how deep it goes into its stack.
//
//   spawn_bench --benchmark_repetitions=9
#include <cstdint>

#include <benchmark/benchmark.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"

namespace heddle {
namespace {

template <typename Body>
void run_fiber(Body body) {
  auto runtime = Runtime::create().value();
  runtime.spawn("benchmark", body).value();
  runtime.run();
}

void BM_SpawnAndJoin(benchmark::State& state) {
  run_fiber([&] {
    scope([&](Scope& open) {
      for (auto _ : state) open.spawn("empty", [] {}).value().join().value();
    });
  });
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_SpawnAndJoin);

void BM_Scope(benchmark::State& state) {
  run_fiber([&] {
    for (auto _ : state) {
      scope([](Scope& own) { own.spawn("empty", [] {}).value(); });
    }
  });
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Scope);

void BM_SpawnAtOnce(benchmark::State& state) {
  run_fiber([&] {
    for (auto _ : state) {
      scope([&](Scope& own) {
        for (std::int64_t i = 0; i < state.range(0); ++i) own.spawn("empty", [] {}).value();
      });
    }
  });
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_SpawnAtOnce)->ArgName("fibers")->Arg(64)->Arg(10000);

}  // namespace
}  // namespace heddle

BENCHMARK_MAIN();
