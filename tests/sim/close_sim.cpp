// close() by one fiber while others are inside calls of the same stream: a watchdog's way.
#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"

#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::seconds;
using test::bytes;
using test::read_some;

constexpr Deadline kNever = Deadline::never();

class CloseSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  // Runs `body` with a connection, whose other end does nothing.
  void run(const std::function<void(Scope&)>& body) {
    world_.run([&] {
      client_ = test::client(client_context_, pipe_.a());
      server_ = test::server(server_context_, pipe_.b());
      test::together({[&] { client_->handshake(kNever).value(); },
                      [&] { server_->handshake(kNever).value(); }});
      (void)read_some(*client_, world_.after(seconds(1)));  // Tickets.
      scope(body);
    });
  }

  void let_others_wait() { (void)this_fiber::sleep_until(world_.after(seconds(1))); }

  sim::World world_{GetParam()};
  sim::Pipe pipe_{world_, {.would_block = 3}};
  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  std::optional<Stream> client_;
  std::optional<Stream> server_;
};

TEST_P(CloseSim, ReaderIsCancelledAndThePeerHearsAnEnd) {
  run([&](Scope& fibers) {
    auto reader = fibers.spawn("reader", [&] { return read_some(*client_); }).value();
    let_others_wait();
    (void)client_->close(world_.after(seconds(1)));
    EXPECT_TRUE(reader.finished()) << "it has left before close() returns";
    EXPECT_EQ(reader.join().error().code, Errc::kCancelled);
    client_.reset();
    EXPECT_EQ(read_some(*server_).value(), 0U);
  });
}

TEST_P(CloseSim, WriterAndAllReadersAreCancelled) {
  pipe_.set_faults({.capacity_of_a = 4096});
  run([&](Scope& fibers) {
    const std::string much(100'000, 'x');
    auto writer =
        fibers.spawn("writer", [&] { return client_->write(bytes(much), kNever); }).value();
    auto reader = fibers.spawn("reader", [&] { return read_some(*client_); }).value();
    auto waiter = fibers.spawn("second reader", [&] { return read_some(*client_); }).value();
    let_others_wait();
    EXPECT_EQ(client_->close(world_.after(seconds(1))).error().code, Errc::kTimedOut);
    EXPECT_EQ(writer.join().error().code, Errc::kCancelled);
    EXPECT_EQ(reader.join().error().code, Errc::kCancelled);
    EXPECT_EQ(waiter.join().error().code, Errc::kCancelled);
    EXPECT_EQ(read_some(*client_).error().code, Errc::kCancelled) << "nobody waits any more";
    client_.reset();
  });
}

TEST_P(CloseSim, HandshakeIsCancelled) {
  world_.run([&] {
    server_ = test::server(server_context_, pipe_.b());
    scope([&](Scope& fibers) {
      auto shaken = fibers.spawn("handshake", [&] { return server_->handshake(kNever); }).value();
      let_others_wait();
      (void)server_->close(world_.after(seconds(1)));
      EXPECT_EQ(shaken.join().error().code, Errc::kCancelled);
      server_.reset();
    });
  });
}

TEST_P(CloseSim, SecondCloserIsRefused) {
  run([&](Scope& fibers) {
    auto first =
        fibers.spawn("closer", [&] { return client_->close(world_.after(seconds(9))); }).value();
    let_others_wait();
    EXPECT_EQ(client_->close(kNever).error().code, Errc::kInvalid);
    EXPECT_EQ(first.join().error().code, Errc::kTimedOut);
  });
}

TEST_P(CloseSim, CallbackIsWaitedFor) {
  bool left = false;
  client_context_.on_new_session([&](const ConnectionView&, const Session&) {
    (void)this_fiber::sleep_until(world_.after(seconds(5)));
    left = true;
    return Result<void>();
  });
  world_.run([&] {
    client_ = test::client(client_context_, pipe_.a());
    server_ = test::server(server_context_, pipe_.b());
    test::together(
        {[&] { client_->handshake(kNever).value(); }, [&] { server_->handshake(kNever).value(); }});
    scope([&](Scope& fibers) {
      (void)fibers.spawn("server", [&] { (void)read_some(*server_); });  // Sends the tickets, too.
      auto reader = fibers.spawn("reader", [&] { return read_some(*client_); }).value();
      let_others_wait();
      (void)client_->close(world_.after(seconds(60)));
      EXPECT_TRUE(left);
      EXPECT_EQ(reader.join().error().code, Errc::kCancelled);
      client_.reset();
    });
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, CloseSim, test::seeds(1, 9), test::kSeedName);

TEST(StreamDeathTest, DestructionUnderAReaderNamesTheFiber) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        sim::Pipe pipe(world);
        const Context context = test::server_context();
        world.run([&] {
          std::optional<Stream> stream = test::server(context, pipe.b());
          scope([&](Scope& fibers) {
            (void)fibers.spawn("the reader", [&] { (void)read_some(*stream); });
            (void)this_fiber::sleep_until(world.after(seconds(1)));
            stream.reset();
          });
        });
      },
      "destroyed while a fiber \\('the reader'\\) is inside a call of it: close\\(\\) the stream");
}

}  // namespace
}  // namespace heddle
