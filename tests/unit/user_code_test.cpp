// Every function that a program hands to the library finds an empty error queue, and what it
// leaves there harms nobody. tests/foreign_calls.py finds calls that were forgotten.
#include "fiber/user_code.h"

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "heddle/callback_transport.h"
#include "heddle/fiber_local.h"
#include "heddle/offload.h"
#include "heddle/runtime.h"
#include "heddle/tls/context.h"
#include "heddle/tls/private_key.h"
#include "heddle/tls/stream.h"

#include "support/own_entries.h"
#include "support/sim.h"
#include "support/tls_pair.h"
#include "tls/kernel/ktls.h"
#include "tls/state/callback_state.h"
#include "transport/drain.h"

namespace heddle {
namespace {

using std::chrono::seconds;

// What a careless function of a program does. Counts how often the queue was not empty.
class Careless {
 public:
  void operator()() {
    ++calls_;
    if (ERR_peek_error() != 0) ++poisoned_;
    ERR_raise(ERR_LIB_USER, 77);
    ERR_set_mark();
    ERR_raise(ERR_LIB_SYS, 5);
  }

  int calls() const { return calls_; }
  int poisoned() const { return poisoned_; }

  // Each of `calls` calls was clean, as far as they were given a queue of their own.
  void expect(int calls) const {
    EXPECT_EQ(calls_, calls);
    EXPECT_EQ(poisoned_, 0);
  }

 private:
  int calls_ = 0;
  int poisoned_ = 0;
};

// Does so in each of its functions, and has `below` do the work.
class CarelessTransport final : public Transport {
 public:
  explicit CarelessTransport(Transport& below) : below_(below) {}

  IoResult try_read(std::span<std::byte> into) override {
    careless();
    return below_.try_read(into);
  }
  IoResult try_write(std::span<const std::byte> from) override {
    careless();
    return below_.try_write(from);
  }
  std::optional<Error> failure() const override {
    careless();
    return below_.failure();
  }
  Wake wait(Interest interest, Deadline deadline) override {
    careless();
    return below_.wait(interest, deadline);
  }
  void shutdown_write() noexcept override {
    careless();
    below_.shutdown_write();
  }
  int tcp_descriptor() const noexcept override {
    careless();
    return -1;
  }

  mutable Careless careless;

 private:
  Transport& below_;
};

class UserCodeTest : public testing::Test {
 protected:
  UserCodeTest() { ERR_clear_error(); }
  ~UserCodeTest() override { ERR_clear_error(); }

  // Runs `body` in a fiber, whose own entries are to survive.
  template <typename Body>
  void run(Body body) {
    world_.run([&] {
      const test::OwnEntries own;
      body();
    });
  }

  Careless careless_;
  sim::World world_{1};
};

TEST_F(UserCodeTest, PostedWorkFindsAnEmptyQueueAndLeavesNothing) {
  const test::OwnEntries own;
  auto runtime = Runtime::create().value();
  ASSERT_TRUE(runtime.spawn("sleeper", [&] {
    (void)this_fiber::sleep_until(this_fiber::after(seconds(0)));
    EXPECT_EQ(ERR_peek_error(), 0U);
  }));
  runtime.post([&] { careless_(); });
  Careless captured;  // Ends with the function.
  runtime.post([held = std::shared_ptr<Careless>(&captured, [](Careless* it) { (*it)(); })] {});
  runtime.post([&] { careless_(); });
  runtime.run();
  careless_.expect(2);
  captured.expect(1);
}

TEST_F(UserCodeTest, PostedWorkThatThrowsLeavesNothingEither) {
  const test::OwnEntries own;
  auto runtime = Runtime::create().value();
  runtime.post([&] {
    careless_();
    throw std::runtime_error("the work failed");
  });
  EXPECT_THROW(runtime.run(), std::runtime_error);
  careless_.expect(1);
}

// In these policies the bug is to be seen.
TEST_F(UserCodeTest, WithoutIsolationPostedWorkFindsWhatOthersLeft) {
  for (const Isolation isolation : {Isolation::kShared, Isolation::kClear}) {
    auto runtime = Runtime::create({.isolation = isolation}).value();
    Careless careless;
    runtime.post([&] { careless(); });
    runtime.post([&] { careless(); });
    runtime.run();
    EXPECT_EQ(careless.poisoned(), 1);
    EXPECT_NE(ERR_peek_error(), 0U);
    ERR_clear_error();
  }
}

TEST_F(UserCodeTest, OffloadedFunctionsOfOneThreadDoNotMeet) {
  auto runtime = Runtime::create().value();
  auto pool = OffloadPool::create({.threads = 1}).value();
  ASSERT_TRUE(runtime.spawn("caller", [&] {
    const test::OwnEntries own;
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool.run([&] { careless_(); }, Deadline::never()));
  }));
  runtime.run();
  careless_.expect(3);
}

// It ends the queue to which the scope has pointers.
TEST_F(UserCodeTest, OffloadedFunctionMayEndItsThreadsOpenSsl) {
  auto runtime = Runtime::create().value();
  auto pool = OffloadPool::create({.threads = 1}).value();
  ASSERT_TRUE(runtime.spawn("caller", [&] {
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(pool.run(
          [&] {
            careless_();
            OPENSSL_thread_stop();
          },
          Deadline::never()));
    }
  }));
  runtime.run();
  careless_.expect(3);
}

TEST_F(UserCodeTest, FunctionsOfACallbackTransport) {
  run([&] {
    CallbackTransport transport(
        {.read = [&](std::span<std::byte>, Deadline) -> Result<std::size_t> {
           careless_();
           (void)this_fiber::yield();
           return std::size_t{0};
         },
         .write = [&](std::span<const std::byte> from, Deadline) -> Result<std::size_t> {
           careless_();
           (void)this_fiber::yield();
           return from.size();
         },
         .shutdown_write = [&] { careless_(); }});
    EXPECT_EQ(transport.wait(Interest::kRead, Deadline::never()), Wake::kReady);
    (void)transport.try_write(test::bytes("text"));
    EXPECT_EQ(transport.wait(Interest::kWrite, Deadline::never()), Wake::kReady);
    transport.shutdown_write();
    careless_.expect(3);
  });
}

TEST_F(UserCodeTest, ThrowingFromShutdownWriteEndsTheProcessByName) {
  CallbackTransport transport(
      {.read = [](std::span<std::byte>, Deadline) -> Result<std::size_t> { return std::size_t{0}; },
       .write = [](std::span<const std::byte> from, Deadline) -> Result<std::size_t> {
         return from.size();
       },
       .shutdown_write = [] { throw std::runtime_error("the radio is off"); }});
  EXPECT_DEATH(transport.shutdown_write(),
               "a transport's shutdown_write function throws: the radio is off");
}

TEST_F(UserCodeTest, TransportThatIsDrained) {
  sim::Pipe pipe(world_);
  run([&] {
    CarelessTransport transport(pipe.b());
    (void)pipe.a().try_write(test::bytes("nobody reads it"));
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("peer", [&] { pipe.a().shutdown_write(); }));
      EXPECT_TRUE(finish_and_drain(transport, world_.after(seconds(9))));
    });
    pipe.vanish_b();
    EXPECT_EQ(transport.careless.poisoned(), 0);
    EXPECT_GE(transport.careless.calls(), 4);
  });
}

TEST_F(UserCodeTest, TransportThatIsAskedForItsDescriptor) {
  sim::Pipe pipe(world_);
  run([&] {
    CarelessTransport transport(pipe.b());
    EXPECT_EQ(tls::kernel_tls_obstacle(transport), KernelTlsState::kNoSocket);
    transport.careless.expect(1);
  });
}

// What a transport leaves in the middle of a call of OpenSSL would be that call's verdict.
TEST_F(UserCodeTest, StreamOverACarelessTransportIsHealthy) {
  sim::Pipe pipe(world_, {.short_io = 3, .would_block = 3});
  run([&] {
    const Context server_context = test::server_context();
    const Context client_context = test::client_context();
    CarelessTransport a(pipe.a());
    CarelessTransport b(pipe.b());
    auto client = test::client(client_context, a);
    auto server = test::server(server_context, b);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("server", [&] {
        EXPECT_TRUE(server.handshake(Deadline::never()));
        EXPECT_EQ(test::read_text(server, 4, Deadline::never()), "ping");
        EXPECT_TRUE(server.write(test::bytes("pong"), Deadline::never()));
        EXPECT_TRUE(server.close(Deadline::never()));
      }));
      EXPECT_TRUE(client.write(test::bytes("ping"), Deadline::never()));
      EXPECT_EQ(test::read_text(client, 4, Deadline::never()), "pong");
      EXPECT_TRUE(client.close(Deadline::never()));
    });
    EXPECT_EQ(a.careless.poisoned(), 0);
    EXPECT_EQ(b.careless.poisoned(), 0);
  });
}

TEST_F(UserCodeTest, FiberLocalsEndWithAnEmptyQueueEach) {
  struct Local {
    Local() = default;
    Local(const Local&) = delete;
    Local& operator=(const Local&) = delete;
    ~Local() {
      if (careless != nullptr) (*careless)();
    }
    Careless* careless = nullptr;
  };
  static const FiberLocal<Local> first;
  static const FiberLocal<Local> second;
  world_.run([&] {
    first->careless = &careless_;
    second->careless = &careless_;
    careless_();
  });
  careless_.expect(3);
}

TEST_F(UserCodeTest, FiberLocalThatEndsMayMakeAnother) {
  static bool ended = false;
  struct Last {
    ~Last() { ended = true; }
  };
  static const FiberLocal<Last> last;
  struct Local {
    std::string text = "longer than what fits into the object itself";
    ~Local() { (void)*last; }
  };
  static const FiberLocal<Local> local;
  world_.run([] { (void)*local; });
  EXPECT_TRUE(ended);
}

TEST_F(UserCodeTest, SessionsAreAllRemovedWhateverTheStoreThrows) {
  Context context = test::server_context();
  std::vector<std::string> removed;
  context
      .set_session_store(
          {.put = [](const ConnectionView&, const Session&) { return Result<void>(); },
           .get = [](const ConnectionView&, std::string_view) { return std::optional<Session>(); },
           .remove = [&](std::string_view id, Deadline) -> Result<void> {
             careless_();
             removed.emplace_back(id);
             if (removed.size() == 1) throw std::runtime_error("the store is on fire");
             if (removed.size() == 2) throw 42;
             return {};
           }})
      .value();
  tls::CallbackState& state = tls::CallbackState::of(context.native_handle());
  for (const char* const id : {"one", "two", "three"}) state.removals.add(id);
  run([&] { tls::deliver_removals(context.native_handle(), Deadline::never()); });
  careless_.expect(3);
  EXPECT_EQ(removed, (std::vector<std::string>{"one", "two", "three"}));
}

// OpenSSL knows one callback for both of these.
TEST_F(UserCodeTest, HelloCallbacksDoNotMeet) {
  Context context = test::server_context();
  context.on_client_hello([&](const ClientHello&) {
    careless_();
    return HelloAnswer::go_on();
  });
  context.on_server_name([&](const ClientHello&) {
    careless_();
    return HelloAnswer::go_on();
  });
  sim::Pipe pipe(world_);
  run([&] {
    auto client = test::client(test::client_context(), pipe.a());
    auto server = test::server(context, pipe.b());
    scope([&](Scope& fibers) {
      ASSERT_TRUE(
          fibers.spawn("client", [&] { EXPECT_TRUE(client.handshake(Deadline::never())); }));
      EXPECT_TRUE(server.handshake(Deadline::never()));
    });
  });
  careless_.expect(2);
}

TEST_F(UserCodeTest, SignerBehindAPool) {
  class CarelessSigner final : public Signer {
   public:
    explicit CarelessSigner(Careless& careless) : careless_(careless) {}
    Result<std::vector<std::byte>> sign(SignatureScheme, std::span<const std::byte>,
                                        Deadline) override {
      careless_();
      return std::vector<std::byte>(1);
    }

   private:
    Careless& careless_;
  };
  const auto signer = make_offload_signer(
      std::make_shared<OffloadPool>(OffloadPool::create({.threads = 1}).value()),
      std::make_shared<CarelessSigner>(careless_));
  const auto sign = [&] {
    const test::OwnEntries own;
    EXPECT_TRUE(signer->sign(SignatureScheme::kEd25519, {}, Deadline::never()));
    EXPECT_TRUE(signer->sign(SignatureScheme::kEd25519, {}, Deadline::never()));
  };
  sign();
  auto runtime = Runtime::create().value();
  ASSERT_TRUE(runtime.spawn("caller", sign));
  runtime.run();
  careless_.expect(4);
}

TEST_F(UserCodeTest, ScopesNestAndPark) {
  run([&] {
    fiber::call_user([&] {
      careless_();
      scope([&](Scope& fibers) {
        ASSERT_TRUE(fibers.spawn("other", [&] { careless_(); }));
        fiber::call_user([&] { careless_(); });
      });
      EXPECT_EQ(ERR_GET_LIB(ERR_peek_last_error()), ERR_LIB_SYS) << "its own are back";
    });
  });
  careless_.expect(3);
}

}  // namespace
}  // namespace heddle
