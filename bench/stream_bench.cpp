// TLS 1.3 over loopback TCP, client and server being two fibers of one runtime: a request of
// 13 bytes and an answer of `bytes`, again and again on one connection. `isolation` is the
// number of the policy: 0 shared, 1 clear, 2 isolated. What isolation costs is the ratio of
// 2 to 0, which must not exceed 1.01; `items` are requests.
//
// BM_Socket is the same without TLS: system calls and switches. The rest is OpenSSL and us.
//
// Left out: many connections (compare/compare.py), HTTP, and the cost of both sides
// apart.
//
//   stream_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=25
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/stream.h"

#include "support/tls_pair.h"

namespace heddle {
namespace {

constexpr std::size_t kRequestBytes = 13;

// As a server does it: a deadline for each call.
Deadline soon() {
  return this_fiber::after(std::chrono::seconds(30));
}

// Returns false at the end of the connection.
template <typename Connection>
bool read_exactly(Connection& from, std::size_t bytes, std::vector<std::byte>& buffer) {
  while (bytes > 0) {
    const auto into = std::span(buffer).first(std::min(buffer.size(), bytes));
    const std::size_t count = from.read(into, soon()).value();
    if (count == 0) return false;
    bytes -= count;
  }
  return true;
}

template <typename Connection>
void answer_requests(Connection& connection, std::size_t answer_bytes) {
  const std::vector<std::byte> answer(answer_bytes, std::byte{'a'});
  std::vector<std::byte> buffer(kRequestBytes);
  while (read_exactly(connection, kRequestBytes, buffer)) {
    connection.write(answer, soon()).value();
  }
  connection.close(soon()).value();
}

template <typename Connection>
void ask_and_measure(Connection& connection, benchmark::State& state, std::size_t answer_bytes) {
  const std::vector<std::byte> request(kRequestBytes, std::byte{'q'});
  std::vector<std::byte> buffer(std::min(answer_bytes, std::size_t{64} * 1024));
  const auto ask = [&] {
    connection.write(request, soon()).value();
    if (!read_exactly(connection, answer_bytes, buffer)) state.SkipWithError("cut short");
  };
  ask();  // Also shakes hands, and reads the tickets.
  for (auto _ : state) ask();
  connection.close(soon()).value();
}

// `client_of` and `server_of` make of a socket what is measured.
template <typename ClientOf, typename ServerOf>
void run(benchmark::State& state, Isolation isolation, std::size_t answer_bytes, ClientOf client_of,
         ServerOf server_of) {
  auto runtime = Runtime::create({.isolation = isolation}).value();
  auto listener = Listener::create(runtime, Address::from_ip("127.0.0.1", 0).value()).value();
  runtime
      .spawn("server",
             [&] {
               auto server = server_of(listener.accept(soon()).value());
               answer_requests(server, answer_bytes);
             })
      .value();
  runtime
      .spawn("client",
             [&] {
               auto client = client_of(connect(runtime, listener.address(), soon()).value());
               ask_and_measure(client, state, answer_bytes);
             })
      .value();
  runtime.run();
  state.SetItemsProcessed(state.iterations());
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(answer_bytes));
}

void BM_Stream(benchmark::State& state) {
  const Context client = test::client_context(KeyType::kEcdsaP256);
  const Context server = test::server_context(KeyType::kEcdsaP256);
  run(
      state, static_cast<Isolation>(state.range(0)), static_cast<std::size_t>(state.range(1)),
      [&](Socket socket) {
        return Stream::create(client, std::move(socket), {.server_name = test::kServerName})
            .value();
      },
      [&](Socket socket) { return Stream::create(server, std::move(socket)).value(); });
}
BENCHMARK(BM_Stream)
    ->ArgNames({"isolation", "bytes"})
    ->ArgsProduct({{0, 1, 2}, {13, 16 << 10, 1 << 20}});

void BM_Socket(benchmark::State& state) {
  const auto as_it_is = [](Socket socket) { return socket; };
  run(state, Isolation::kIsolated, static_cast<std::size_t>(state.range(0)), as_it_is, as_it_is);
}
BENCHMARK(BM_Socket)->ArgName("bytes")->Arg(13)->Arg(16 << 10)->Arg(1 << 20);

}  // namespace
}  // namespace heddle

BENCHMARK_MAIN();
