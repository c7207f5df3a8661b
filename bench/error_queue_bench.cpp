// What looking after OpenSSL's error queue costs: the question whether it is empty, which
// every switch and every TLS call asks; moving a queue that is not; and both as part of a
// TLS call that finds nothing to read, which is most of them on an idle connection.
//
// BM_ClearNothing is ERR_clear_error() on an empty queue, for scale: what clearing before
// each call costs. BM_ReadNothing compares the same SSL_read() bare (with SSL_get_error()),
// with ERR_clear_error() before it, by Engine::call(), and by Stream::read() up to where it
// would park. BM_CallNothing is Engine::call() around no OpenSSL function at all.
//
// Left out: the switch itself (switch_bench), and reads that find something (stream_bench).
//
//   error_queue_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=9
#include <array>
#include <cstddef>
#include <utility>

#include <benchmark/benchmark.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/error_queue.h"
#include "heddle/fiber.h"
#include "heddle/runtime.h"
#include "heddle/tls/stream.h"

#include "support/raw_tls.h"
#include "support/sim.h"
#include "support/tls_pair.h"
#include "tls/machine/engine.h"

namespace heddle {
namespace {

void BM_IsEmpty(benchmark::State& state) {
  const ThreadErrorQueue queue;
  for (auto _ : state) {
    benchmark::DoNotOptimize(queue.empty());
    benchmark::ClobberMemory();  // Else it is asked once.
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_IsEmpty);

void BM_FindQueue(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(ThreadErrorQueue());
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_FindQueue);

void BM_SetAsideAndBringBack(benchmark::State& state) {
  ThreadErrorQueue queue;
  for (std::int64_t i = 0; i < state.range(0); ++i) test::leave_entry(test::Leak::kOther);
  for (auto _ : state) queue.bring_back(queue.set_aside());
  state.SetItemsProcessed(state.iterations());
  queue.clear();
}
BENCHMARK(BM_SetAsideAndBringBack)->ArgName("entries")->Arg(1)->Arg(16);

void BM_ClearNothing(benchmark::State& state) {
  for (auto _ : state) ERR_clear_error();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ClearNothing);

// A transport that can be told to have nothing to say, and then does not wait either.
class Mutable final : public Transport {
 public:
  explicit Mutable(Transport& below) : below_(below) {}

  void mute() { muted_ = true; }

  IoResult try_read(std::span<std::byte> into) noexcept override {
    return muted_ ? IoResult{IoResult::Kind::kWouldBlock} : below_.try_read(into);
  }
  IoResult try_write(std::span<const std::byte> from) noexcept override {
    return below_.try_write(from);
  }
  Wake wait(Interest interest, Deadline deadline) override {
    return muted_ ? Wake::kTimedOut : below_.wait(interest, deadline);
  }

 private:
  Transport& below_;
  bool muted_ = false;
};

// Runs `body(stream)` in a fiber of a runtime, with a client whose handshake is done.
template <typename Body>
void with_idle_stream(Isolation isolation, Body body) {
  sim::World world(/*seed=*/42);
  sim::Pipe pipe(world);
  Mutable transport(pipe.a());
  const Context client_context = test::client_context();
  const Context server_context = test::server_context();
  auto client = test::client(client_context, transport);
  auto server = test::server(server_context, pipe.b());
  world.spawn("client", [&] {
    client.handshake(Deadline::never()).value();
    (void)test::read_text(client, 1, Deadline::never());  // And the tickets before it.
  });
  world.spawn("server", [&] {
    server.handshake(Deadline::never()).value();
    server.write(test::bytes("."), Deadline::never()).value();
  });
  world.run();
  transport.mute();
  auto runtime = Runtime::create({.isolation = isolation}).value();
  runtime.spawn("benchmark", [&] { body(client); }).value();
  runtime.run();
}

template <typename Prepare>
void read_bare(benchmark::State& state, Prepare prepare) {
  with_idle_stream(Isolation::kShared, [&](Stream& stream) {
    SSL* const ssl = stream.native_handle();
    std::array<std::byte, 64> into{};
    std::size_t count = 0;
    for (auto _ : state) {
      prepare();
      const int rc = SSL_read_ex(ssl, into.data(), into.size(), &count);
      if (SSL_get_error(ssl, rc) != SSL_ERROR_WANT_READ) state.SkipWithError("not idle");
    }
  });
  state.SetItemsProcessed(state.iterations());
}

void BM_ReadNothing_Bare(benchmark::State& state) {
  read_bare(state, [] {});
}
BENCHMARK(BM_ReadNothing_Bare);

void BM_ReadNothing_BareCleared(benchmark::State& state) {
  read_bare(state, [] { ERR_clear_error(); });
}
BENCHMARK(BM_ReadNothing_BareCleared);

Isolation isolation_of(const benchmark::State& state) {
  return static_cast<Isolation>(state.range(0));
}

// By the numbers of Isolation: 0 shared, 1 clear, 2 isolated.
void BM_ReadNothing_Stream(benchmark::State& state) {
  with_idle_stream(isolation_of(state), [&](Stream& stream) {
    std::array<std::byte, 64> into{};
    for (auto _ : state) {
      const auto read = stream.read(into, Deadline::never());
      if (read || read.error().code != Errc::kTimedOut) state.SkipWithError("not idle");
    }
  });
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_ReadNothing_Stream)->ArgName("isolation")->DenseRange(0, 2);

void BM_CallNothing(benchmark::State& state) {
  auto runtime = Runtime::create({.isolation = isolation_of(state)}).value();
  runtime
      .spawn("benchmark",
             [&] {
               sim::World world(/*seed=*/42);
               sim::Pipe pipe(world);
               const Context context = test::client_context();
               const auto engine =
                   test::make_raw_engine(context, pipe.a(), test::WhenBlocked::kRefuse);
               for (auto _ : state) {
                 benchmark::DoNotOptimize(engine->call("nothing", [](SSL* ssl) {
                   benchmark::DoNotOptimize(ssl);
                   benchmark::ClobberMemory();
                   return 1;
                 }));
               }
             })
      .value();
  runtime.run();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_CallNothing)->ArgName("isolation")->DenseRange(0, 2);

}  // namespace
}  // namespace heddle

BENCHMARK_MAIN();
