// What RSA-4096 handshakes do to the connections beside them, with keys in line and with keys on a
// pool of threads. One thread serves 100 connections that echo, each asked every 20 ms, while up to
// 100 new connections a second shake hands with an RSA-4096 certificate; the clients are on another
// thread. Latency is a round trip as a client sees it; percentiles are over all of them.
//
// The contestants take turns within one iteration: no handshakes, keys in line, keys offloaded.
// `p99_ratio` is in line over offloaded; `p99_over_idle` is offloaded over no handshakes: 1 is
// flat. Left out: the network, and what a pool that is too small does to the handshakes
// themselves. Needs two processors: on one, the pool's threads and the server's share it.
//
//   offload_bench --benchmark_repetitions=5
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "heddle/fiber.h"
#include "heddle/offload.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"
#include "heddle/tls/private_key.h"
#include "heddle/tls/stream.h"

#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kEchoes = 100;
constexpr int kRounds = 50;
constexpr auto kPause = milliseconds(20);            // Between two rounds of a connection.
constexpr auto kBetweenArrivals = milliseconds(10);  // Of new connections, at least.
constexpr std::size_t kNewcomersMax = 8;  // At once: a machine with other work must not drown.
constexpr KeyType kSlowKey = KeyType::kRsa4096;
constexpr KeyType kFastKey = KeyType::kEcdsaP256;

// A runtime that serves on a thread of its own, until it is destroyed.
class ServerThread {
 public:
  ServerThread() {
    std::promise<Runtime*> made;
    thread_ = std::thread([this, &made] {
      auto runtime = Runtime::create().value();
      Semaphore ended(0);
      (void)runtime.spawn("until the end", [&] { ended.acquire().value(); });
      ended_ = &ended;
      made.set_value(&runtime);
      runtime.run();
    });
    runtime_ = made.get_future().get();
  }
  ServerThread(const ServerThread&) = delete;
  ServerThread& operator=(const ServerThread&) = delete;
  ~ServerThread() {
    runtime_->post([this] { ended_->release(); });
    thread_.join();
  }

  // Echoes on `descriptor` until the client ends.
  void echo(int descriptor, const Context& context) {
    runtime_->post([this, descriptor, &context] {
      (void)runtime_->spawn("echo", [this, descriptor, &context] {
        auto stream = Stream::create(context, Socket::adopt(*runtime_, descriptor).value()).value();
        std::array<std::byte, 256> buffer;
        for (;;) {
          const auto count = stream.read(buffer, Deadline::never());
          if (!count || *count == 0) break;
          if (!stream.write(std::span(buffer).first(*count), Deadline::never())) break;
        }
      });
    });
  }

 private:
  std::thread thread_;
  Runtime* runtime_ = nullptr;
  Semaphore* ended_ = nullptr;
};

class Clients {
 public:
  Clients(ServerThread& server, const Context& echo_context, const Context* storm_context)
      : server_(server), echo_context_(echo_context), storm_context_(storm_context) {}

  // Returns every round trip's time, sorted.
  std::vector<double> run() {
    (void)runtime_.spawn("clients", [&] {
      scope([&](Scope& echoes) {
        for (int i = 0; i < kEchoes; ++i) {
          echoes.spawn("echo client", [this, i] { ask_for_echoes(i); }).value();
        }
        if (storm_context_ != nullptr) {
          runtime_.spawn("storm", [this] { storm(); }).value();
        }
      });
      over_ = true;
    });
    runtime_.run();
    std::sort(microseconds_.begin(), microseconds_.end());
    return std::move(microseconds_);
  }

  int handshakes() const { return handshakes_; }

 private:
  Stream connect(const Context& server, const Context& client) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
    server_.echo(ends[1], server);
    return Stream::create(client, Socket::adopt(runtime_, ends[0]).value(),
                          {.server_name = test::kServerName})
        .value();
  }

  void ask_for_echoes(int number) {
    auto stream = connect(echo_context_, echo_client_);
    stream.handshake(Deadline::never()).value();
    // Not all at once.
    this_fiber::sleep_until(this_fiber::after(kPause * number / kEchoes)).value();
    for (int round = 0; round < kRounds; ++round) {
      const auto begin = Clock::now();
      stream.write(test::bytes("echo"), Deadline::never()).value();
      (void)test::read_text(stream, 4, Deadline::never());
      microseconds_.push_back(
          std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
      this_fiber::sleep_until(this_fiber::after(kPause)).value();
    }
    (void)stream.close(Deadline::never());
  }

  void storm() {
    scope([this](Scope& arrivals) {
      while (!over_) {
        const Deadline next = this_fiber::after(kBetweenArrivals);
        if (arrivals.size() < kNewcomersMax) {
          arrivals.spawn("newcomer", [this] { shake_hands(); }).value();
        }
        this_fiber::sleep_until(next).value();
      }
    });
  }

  void shake_hands() {
    auto stream = connect(*storm_context_, storm_client_);
    stream.handshake(Deadline::never()).value();
    ++handshakes_;
    (void)stream.close(Deadline::never());
  }

  ServerThread& server_;
  const Context& echo_context_;
  const Context* storm_context_;
  const Context echo_client_ = test::client_context(kFastKey);
  const Context storm_client_ = test::client_context(kSlowKey);
  Runtime runtime_ = Runtime::create().value();
  bool over_ = false;
  int handshakes_ = 0;
  std::vector<double> microseconds_;
};

// One contestant's sum over the iterations.
struct Contestant {
  double p50 = 0;
  double p99 = 0;
  double handshakes = 0;

  void compete(const Context& echo, const Context* storm) {
    ServerThread server;
    Clients clients(server, echo, storm);
    const std::vector<double> sorted = clients.run();
    p50 += sorted[sorted.size() / 2];
    p99 += sorted[sorted.size() * 99 / 100];
    handshakes += clients.handshakes();
  }
};

void BM_EchoesBesideRsa4096Handshakes(benchmark::State& state) {
  const Context echo = test::server_context(kFastKey);
  const Context in_line = test::server_context(kSlowKey);
  Context offloaded = Context::create(Role::kServer).value();
  const Identity& slow = test::identity(kSlowKey);
  offloaded
      .use_cert_chain(
          slow.certificate_pem,
          make_offload_signer(std::make_shared<OffloadPool>(
                                  OffloadPool::create({.threads = 1, .nice = 10}).value()),
                              make_key_signer(slow.key_pem).value()))
      .value();
  Contestant idle;
  Contestant line;
  Contestant off;
  for (auto _ : state) {
    idle.compete(echo, nullptr);
    line.compete(echo, &in_line);
    off.compete(echo, &offloaded);
  }
  const auto average = benchmark::Counter::kAvgIterations;
  state.counters["p50_idle_us"] = {idle.p50, average};
  state.counters["p99_idle_us"] = {idle.p99, average};
  state.counters["p50_in_line_us"] = {line.p50, average};
  state.counters["p99_in_line_us"] = {line.p99, average};
  state.counters["p50_offloaded_us"] = {off.p50, average};
  state.counters["p99_offloaded_us"] = {off.p99, average};
  state.counters["handshakes_in_line"] = {line.handshakes, average};
  state.counters["handshakes_offloaded"] = {off.handshakes, average};
  state.counters["p99_ratio"] = line.p99 / off.p99;
  state.counters["p99_over_idle"] = off.p99 / idle.p99;
}
BENCHMARK(BM_EchoesBesideRsa4096Handshakes)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace heddle

BENCHMARK_MAIN();
