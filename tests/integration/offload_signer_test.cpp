// Signatures on a pool of threads, while the runtime's thread serves the other connections.
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/offload.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"
#include "heddle/tls/private_key.h"
#include "heddle/tls/stream.h"

#include "support/signers.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::bytes;

constexpr Deadline kNever = Deadline::never();

// As in the README.
void use_key_on_threads(Context& tls, std::string_view chain_pem, std::string_view key_pem) {
  auto pool =
      std::make_shared<OffloadPool>(OffloadPool::create({.threads = 2, .nice = 10}).value());
  auto signer = make_offload_signer(pool, make_key_signer(key_pem).value());
  tls.use_cert_chain(chain_pem, signer).value();
}

// Holds each signature until it is let go, on the thread that makes it.
class HeldSigner final : public Signer {
 public:
  HeldSigner(Runtime& runtime, KeyType type) : runtime_(runtime), key_(test::key_signer(type)) {}

  test::Signature sign(SignatureScheme scheme, std::span<const std::byte> message,
                       Deadline deadline) override {
    runtime_.post([this] { begun_.release(); });
    gate_.acquire();
    return key_->sign(scheme, message, deadline);
  }

  // In a fiber.
  void await_begin() { begun_.acquire().value(); }
  void let_go() { gate_.release(); }

 private:
  Runtime& runtime_;
  Semaphore begun_{0};
  std::counting_semaphore<> gate_{0};
  std::shared_ptr<Signer> key_;
};

// A client and a server with a socket pair between them.
struct Pair {
  Pair(Runtime& runtime, const Context& server_context, const Context& client_context) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    client = Stream::create(client_context, Socket::adopt(runtime, ends[0]).value(),
                            {.server_name = test::kServerName})
                 .value();
    server = Stream::create(server_context, Socket::adopt(runtime, ends[1]).value()).value();
  }

  void shake_hands() {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("server", [&] { server->handshake(kNever).value(); }));
      client->handshake(kNever).value();
    });
  }

  // There and back again.
  void round_trip() {
    client->write(bytes("ping"), kNever).value();
    EXPECT_EQ(test::read_text(*server, 4, kNever), "ping");
    server->write(bytes("pong"), kNever).value();
    EXPECT_EQ(test::read_text(*client, 4, kNever), "pong");
  }

  std::optional<Stream> client;
  std::optional<Stream> server;
};

class OffloadSignerTest : public testing::Test {
 protected:
  // Runs `body` in a fiber, and all that it spawns.
  template <typename Body>
  void run(Body body) {
    ASSERT_TRUE(runtime_.spawn("test", body));
    runtime_.run();
  }

  std::shared_ptr<OffloadPool> pool(OffloadOptions options = {.threads = 1}) {
    return std::make_shared<OffloadPool>(OffloadPool::create(options).value());
  }

  Runtime runtime_ = Runtime::create().value();
  const Context client_ = test::client_context(KeyType::kRsa2048);
};

// In line, not one round trip could happen before the signature is made.
TEST_F(OffloadSignerTest, OtherConnectionsGoOnWhileASignatureIsBeingMade) {
  constexpr int kRounds = 500;
  const auto held = std::make_shared<HeldSigner>(runtime_, KeyType::kRsa2048);
  const Context slow = test::server_of(KeyType::kRsa2048, make_offload_signer(pool(), held));
  const Context usual = test::server_context(KeyType::kRsa2048);
  int rounds = 0;
  run([&] {
    Pair other(runtime_, usual, client_);
    other.shake_hands();
    Pair pair(runtime_, slow, client_);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("client", [&] { pair.client->handshake(kNever).value(); }));
      auto server = fibers.spawn("server", [&] { return pair.server->handshake(kNever); });
      held->await_begin();
      for (; rounds < kRounds; ++rounds) other.round_trip();
      // New ones, too.
      Pair another(runtime_, usual, client_);
      another.shake_hands();
      another.round_trip();
      EXPECT_FALSE(server->finished());
      held->let_go();
      EXPECT_TRUE(server->join());
    });
    pair.round_trip();
  });
  EXPECT_EQ(rounds, kRounds);
}

// The signature goes on without them, and its result goes nowhere.
TEST_F(OffloadSignerTest, AHandshakeThatGivesUpDoesNotWaitForItsSignature) {
  const auto held = std::make_shared<HeldSigner>(runtime_, KeyType::kRsa2048);
  auto threads = pool();
  const Context server = test::server_of(KeyType::kRsa2048, make_offload_signer(threads, held));
  run([&] {
    auto pair = std::make_unique<Pair>(runtime_, server, client_);
    scope([&](Scope& fibers) {
      auto client = fibers.spawn("client", [&] { return pair->client->handshake(kNever); });
      auto task = fibers.spawn("server", [&] { return pair->server->handshake(kNever); });
      held->await_begin();
      task->cancel();
      EXPECT_EQ(task->join().error().code, Errc::kCancelled);
      EXPECT_EQ(client->join().error().code, Errc::kProtocol);  // An alert.
    });
    EXPECT_EQ(threads->stats().running, 1U);
    pair.reset();
    held->let_go();
    while (threads->stats().done == 0) this_fiber::yield().value();
    EXPECT_EQ(threads->stats().abandoned, 1U);
  });
}

TEST_F(OffloadSignerTest, AFullPoolComesOutOfTheHandshake) {
  const auto full = pool({.threads = 1, .queue_max = 0});
  const Context server = test::server_of(
      KeyType::kRsa2048, make_offload_signer(full, test::key_signer(KeyType::kRsa2048)));
  run([&] {
    Pair pair(runtime_, server, client_);
    scope([&](Scope& fibers) {
      auto client = fibers.spawn("client", [&] { return pair.client->handshake(kNever); });
      EXPECT_EQ(pair.server->handshake(kNever).error().code, Errc::kExhausted);
      EXPECT_EQ(client->join().error().code, Errc::kProtocol);
    });
  });
}

TEST_F(OffloadSignerTest, WithoutAFiberItSignsOnTheThreadThatAsks) {
  std::thread::id there;
  const auto note = std::make_shared<test::CallSigner>([&](auto...) -> test::Signature {
    there = std::this_thread::get_id();
    return std::vector<std::byte>(1);
  });
  const auto signer = make_offload_signer(pool(), note);
  EXPECT_TRUE(signer->sign(SignatureScheme::kEd25519, bytes("message"), kNever));
  EXPECT_EQ(there, std::this_thread::get_id());
}

TEST_F(OffloadSignerTest, TheReadmesContextServes) {
  Context server = Context::create(Role::kServer).value();
  const Identity& identity = test::identity(KeyType::kRsa2048);
  use_key_on_threads(server, identity.certificate_pem, identity.key_pem);
  run([&] {
    Pair pair(runtime_, server, client_);
    pair.shake_hands();
    pair.round_trip();
  });
}

// One context, one key, one pool, several runtimes on threads of their own.
TEST_F(OffloadSignerTest, RuntimesShareTheSigner) {
  constexpr int kThreads = 3;
  constexpr int kConnections = 20;
  for (const KeyType type : {KeyType::kRsa2048, KeyType::kEcdsaP256, KeyType::kEd25519}) {
    const Context server =
        test::server_of(type, make_offload_signer(pool({.threads = 2}), test::key_signer(type)));
    const Context client = test::client_context(type);
    std::atomic<int> done = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        auto runtime = Runtime::create().value();
        for (int each = 0; each < kConnections; ++each) {
          ASSERT_TRUE(runtime.spawn("connection", [&] {
            Pair pair(runtime, server, client);
            pair.shake_hands();
            pair.round_trip();
            ++done;
          }));
        }
        runtime.run();
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(done, kThreads * kConnections);
  }
}

}  // namespace
}  // namespace heddle
