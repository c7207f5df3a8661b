// TLS 1.3 handshakes with ECDSA P-256, client and server on one thread, over pipes in
// memory: OpenSSL's cost and ours, both sides', without the kernel's. `items` are
// connections; each is made, shaken hands and destroyed. BM_Resumed offers the ticket of an
// earlier connection, which saves the certificate and its signature, not the key exchange.
//
// Almost all of it is OpenSSL's arithmetic, so this watches for handshakes that do something
// twice. Left out: the network, TLS 1.2, RSA, chains longer than one, client certificates.
//
//   handshake_bench --benchmark_repetitions=9
#include <cstdint>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>
#include <openssl/ssl.h>

#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"

#include "openssl/handles.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using SessionPtr = openssl::Handle<SSL_SESSION, SSL_SESSION_free>;

struct Contexts {
  Context client = test::client_context(KeyType::kEcdsaP256);
  Context server = test::server_context(KeyType::kEcdsaP256);
};

// A session to resume. The ticket comes after the handshake, so there must be data to read.
SessionPtr get_session(const Contexts& contexts) {
  sim::World world(/*seed=*/42);
  sim::Pipe pipe(world);
  SessionPtr session;
  world.spawn("client", [&] {
    auto stream = test::client(contexts.client, pipe.a());
    (void)test::read_text(stream, 1, Deadline::never());
    // A copy: SSL_free() spoils the session of a connection that did not end in order.
    session.reset(SSL_SESSION_dup(SSL_get0_session(stream.native_handle())));
  });
  world.spawn("server", [&] {
    auto stream = test::server(contexts.server, pipe.b());
    stream.write(test::bytes("."), Deadline::never()).value();
  });
  world.run();
  return session;
}

// Shakes hands on as many connections as `state` asks for, all at once.
void shake_hands(benchmark::State& state, const Contexts& contexts, SSL_SESSION* session) {
  const auto connections = state.range(0);
  std::int64_t resumed = 0;
  for (auto _ : state) {
    sim::World world(/*seed=*/42);
    std::vector<std::unique_ptr<sim::Pipe>> pipes;
    for (std::int64_t i = 0; i < connections; ++i) {
      sim::Pipe& pipe = *pipes.emplace_back(std::make_unique<sim::Pipe>(world));
      world.spawn("client", [&contexts, &pipe, &resumed, session] {
        auto stream = test::client(contexts.client, pipe.a());
        if (session != nullptr) {
          const SessionPtr copy(SSL_SESSION_dup(session));  // Why: see get_session().
          SSL_set_session(stream.native_handle(), copy.get());
        }
        stream.handshake(Deadline::never()).value();
        if (stream.connection_state().resumed) ++resumed;
      });
      world.spawn("server", [&contexts, &pipe] {
        test::server(contexts.server, pipe.b()).handshake(Deadline::never()).value();
      });
    }
    world.run();
  }
  const std::int64_t all = state.iterations() * connections;
  if (resumed != (session != nullptr ? all : 0)) state.SkipWithError("not what was asked for");
  state.SetItemsProcessed(all);
}

void BM_Full(benchmark::State& state) {
  const Contexts contexts;
  shake_hands(state, contexts, nullptr);
}
BENCHMARK(BM_Full)->ArgName("at_once")->Arg(1)->Arg(64)->Unit(benchmark::kMicrosecond);

void BM_Resumed(benchmark::State& state) {
  const Contexts contexts;
  const SessionPtr session = get_session(contexts);
  shake_hands(state, contexts, session.get());
}
BENCHMARK(BM_Resumed)->ArgName("at_once")->Arg(1)->Arg(64)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace heddle

BENCHMARK_MAIN();
