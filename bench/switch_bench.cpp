// What it costs to go to another fiber and back, beside the bare jump of Boost.Context that
// is in it: the ratio of BM_FiberYield to BM_BareJump is what the scheduler adds (ready
// queue, errno, exception state, error queue). One iteration is one way there and one back,
// which makes two items, in every benchmark here.
//
// BM_FiberYieldDirty: one of the two fibers has an entry in its OpenSSL error queue, which
// `isolated` must move at every switch. BM_RuntimeYield: on epoll, asked for events once
// per 128 switches.
//
// Left out: what waiting for a deadline costs (timer_bench) and cold caches: two fibers
// that alternate find their stacks in the first level.
//
//   switch_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=9
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <boost/context/detail/fcontext.hpp>

#include "heddle/fiber.h"
#include "heddle/runtime.h"

#include "fiber/scheduler.h"
#include "support/raw_tls.h"

namespace heddle {
namespace {

namespace context = boost::context::detail;

// Has no events, and first come is first served.
class QuietSource final : public fiber::Source {
 public:
  TimePoint now() const noexcept override { return {}; }
  void wait(Deadline /*until*/) override {}
};

template <typename Body>
void run_fiber(Isolation isolation, Body body) {
  QuietSource source;
  fiber::Scheduler scheduler(source, {.isolation = isolation});
  const auto task = detail::make_task_state(std::move(body));
  scheduler.spawn({.name = "benchmark"}, task, /*scope=*/nullptr).value();
  scheduler.run();
}

// Yields while `state` goes on, or where there is none until `done`. One function for both
// fibers: those of a server wait in the same places, too, so that the processor may guess
// where the other one returns to.
[[gnu::noinline]] void yield_in_turns(benchmark::State* state, const bool& done) {
  while (state != nullptr ? state->KeepRunning() : !done) this_fiber::yield().value();
}

// Each iteration yields to one other fiber, which yields back.
void measure(benchmark::State& state) {
  bool done = false;
  scope([&](Scope& partners) {
    partners.spawn("partner", [&done] { yield_in_turns(nullptr, done); }).value();
    yield_in_turns(&state, done);
    done = true;
  });
  state.SetItemsProcessed(state.iterations() * 2);
}

Isolation isolation_of(const benchmark::State& state) {
  return state.range(0) == 0 ? Isolation::kShared : Isolation::kIsolated;
}

void BM_BareJump(benchmark::State& state) {
  constexpr std::size_t kStackBytes = std::size_t{64} * 1024;
  std::vector<std::byte> stack(kStackBytes);
  context::fcontext_t there = context::make_fcontext(
      stack.data() + stack.size(), stack.size(), [](context::transfer_t from) {
        for (;;) from = context::jump_fcontext(from.fctx, nullptr);
      });
  for (auto _ : state) there = context::jump_fcontext(there, nullptr).fctx;
  state.SetItemsProcessed(state.iterations() * 2);
}
BENCHMARK(BM_BareJump);

void BM_FiberYield(benchmark::State& state) {
  run_fiber(isolation_of(state), [&state] { measure(state); });
}
BENCHMARK(BM_FiberYield)->ArgName("isolated")->Arg(0)->Arg(1);

void BM_FiberYieldDirty(benchmark::State& state) {
  run_fiber(isolation_of(state), [&state] {
    test::leave_entry(test::Leak::kOther);
    measure(state);
    ThreadErrorQueue().clear();
  });
}
BENCHMARK(BM_FiberYieldDirty)->ArgName("isolated")->Arg(0)->Arg(1);

void BM_RuntimeYield(benchmark::State& state) {
  auto runtime = Runtime::create({.isolation = isolation_of(state)}).value();
  runtime.spawn("benchmark", [&state] { measure(state); }).value();
  runtime.run();
}
BENCHMARK(BM_RuntimeYield)->ArgName("isolated")->Arg(0)->Arg(1);

}  // namespace
}  // namespace heddle

BENCHMARK_MAIN();
