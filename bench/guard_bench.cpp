// What libheddle-guard.so adds to a TLS call: on the clean path, and where an entry is met whose
// place is known already (the first time, it is reported). The same call, of the same function of
// the same connection, once straight into libssl and once by way of the guard, which this program
// loads as others have it loaded for them. Peeking at a byte that is there is about the cheapest
// successful call, reading nothing the usual unsuccessful one.
//
//   guard_bench --benchmark_enable_random_interleaving=true --benchmark_repetitions=9
#include <array>
#include <cstdlib>
#include <memory>

#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/tls/context.h"

#include "openssl/handles.h"
#include "support/tls_pair.h"

namespace {

using Call = decltype(&SSL_read);

Call find_guarded(const char* name) {
  static void* const module = [] {
    setenv("HEDDLE_GUARD", "detect", 1);  // NOLINT(concurrency-mt-unsafe)
    void* opened = dlopen(HEDDLE_GUARD_MODULE, RTLD_NOW | RTLD_LOCAL);
    if (opened == nullptr) {
      std::fprintf(stderr, "guard_bench: %s\n", dlerror());
      std::exit(1);  // NOLINT(concurrency-mt-unsafe)
    }
    return opened;
  }();
  return reinterpret_cast<Call>(dlsym(module, name));
}

// A client that has one byte to read, and a server that has none.
class Pair {
 public:
  Pair()
      : client_context_(heddle::test::client_context()),
        server_context_(heddle::test::server_context()),
        client_(SSL_new(client_context_.native_handle())),
        server_(SSL_new(server_context_.native_handle())) {
    BIO* left = nullptr;
    BIO* right = nullptr;
    BIO_new_bio_pair(&left, 0, &right, 0);
    SSL_set_bio(client(), left, left);
    SSL_set_bio(server(), right, right);
    SSL_set_connect_state(client());
    SSL_set_accept_state(server());
    SSL_set1_host(client(), heddle::test::kServerName);
    for (int i = 0; i < 4; ++i) {
      SSL_do_handshake(client());
      SSL_do_handshake(server());
    }
    char byte = 'x';
    const bool connected = SSL_write(server(), &byte, 1) == 1 && SSL_peek(client(), &byte, 1) == 1;
    if (!connected || ERR_peek_error() != 0) std::abort();
  }

  [[nodiscard]] SSL* client() const { return client_.get(); }
  [[nodiscard]] SSL* server() const { return server_.get(); }

 private:
  heddle::Context client_context_;
  heddle::Context server_context_;
  heddle::openssl::SslPtr client_;
  heddle::openssl::SslPtr server_;
};

void measure(benchmark::State& state, Call call, SSL* ssl, int expected) {
  char byte = 0;
  if (call(ssl, &byte, 1) != expected) std::abort();
  for (auto _ : state) benchmark::DoNotOptimize(call(ssl, &byte, 1));
  state.SetItemsProcessed(state.iterations());
}

void BM_PeekByte(benchmark::State& state) {
  const Pair pair;
  measure(state, SSL_peek, pair.client(), 1);
}
BENCHMARK(BM_PeekByte);

void BM_PeekByteGuarded(benchmark::State& state) {
  const Pair pair;
  measure(state, find_guarded("SSL_peek"), pair.client(), 1);
}
BENCHMARK(BM_PeekByteGuarded);

void BM_ReadNothing(benchmark::State& state) {
  const Pair pair;
  measure(state, SSL_read, pair.server(), -1);
}
BENCHMARK(BM_ReadNothing);

void BM_ReadNothingGuarded(benchmark::State& state) {
  const Pair pair;
  measure(state, find_guarded("SSL_read"), pair.server(), -1);
}
BENCHMARK(BM_ReadNothingGuarded);

// Reading does not take an entry out.
void measure_dirty(benchmark::State& state, Call call, SSL* ssl) {
  ERR_raise(ERR_LIB_USER, 1);
  measure(state, call, ssl, -1);
  ERR_clear_error();
}

void BM_ReadNothingDirty(benchmark::State& state) {
  const Pair pair;
  measure_dirty(state, SSL_read, pair.server());
}
BENCHMARK(BM_ReadNothingDirty);

void BM_ReadNothingDirtyGuarded(benchmark::State& state) {
  const Pair pair;
  measure_dirty(state, find_guarded("SSL_read"), pair.server());
}
BENCHMARK(BM_ReadNothingDirtyGuarded);

}  // namespace

BENCHMARK_MAIN();
