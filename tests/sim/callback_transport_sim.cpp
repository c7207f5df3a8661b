// TLS over functions that read and write as blocking code does, and park.
#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/callback_transport.h"
#include "heddle/fiber.h"
#include "heddle/sync.h"
#include "heddle/tls/stream.h"

#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::bytes;
using test::read_some;
using test::together;

constexpr Deadline kNever = Deadline::never();

struct OfTheUser : std::runtime_error {
  explicit OfTheUser(int which) : std::runtime_error("of the user"), number(which) {}
  int number;
};

// Pipeline carries blocks of bytes by a channel, in pieces of any size.
class Pipeline {
 public:
  explicit Pipeline(sim::World& world) : world_(world) {}

  Result<std::size_t> read(std::span<std::byte> into, Deadline deadline) {
    if (rest_.empty()) {
      auto block = blocks_.pop(deadline);
      if (!block) return block.error();
      if (!*block) return std::size_t{0};
      rest_ = **std::move(block);
    }
    const std::size_t most = std::min(into.size(), rest_.size());
    const std::size_t count = world_.one_in(3) ? 1 : most;
    std::copy_n(rest_.begin(), count, into.begin());
    rest_.erase(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(count));
    return count;
  }

  Result<std::size_t> write(std::span<const std::byte> from, Deadline deadline) {
    const std::size_t count = world_.one_in(3) ? 1 : 1 + world_.below(from.size());
    const auto part = from.first(count);
    const auto pushed = blocks_.push(std::vector<std::byte>(part.begin(), part.end()), deadline);
    if (!pushed) return pushed.error();
    return count;
  }

  void end() { blocks_.close(); }

 private:
  sim::World& world_;
  Channel<std::vector<std::byte>> blocks_{64};
  std::vector<std::byte> rest_;
};

class CallbackTransportSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  // What the client's functions do before the pipelines do the rest.
  using Hook = std::function<std::optional<Error>(Deadline)>;

  CallbackTransport::Functions functions(Pipeline& in, Pipeline& out, Hook& on_read,
                                         Hook& on_write) {
    return {
        .read = [&](std::span<std::byte> into, Deadline deadline) -> Result<std::size_t> {
          if (const auto error = on_read ? on_read(deadline) : std::nullopt) return *error;
          return in.read(into, deadline);
        },
        .write = [&](std::span<const std::byte> from, Deadline deadline) -> Result<std::size_t> {
          if (const auto error = on_write ? on_write(deadline) : std::nullopt) return *error;
          return out.write(from, deadline);
        },
        .shutdown_write = [&] { out.end(); }};
  }

  void open() {
    to_client_.emplace(world_);
    to_server_.emplace(world_);
    client_ = Stream::create(client_context_,
                             std::make_unique<CallbackTransport>(
                                 functions(*to_client_, *to_server_, on_read_, on_write_)),
                             {.server_name = test::kServerName})
                  .value();
    server_ = Stream::create(server_context_, std::make_unique<CallbackTransport>(functions(
                                                  *to_server_, *to_client_, nothing_, nothing_)))
                  .value();
  }

  void handshake() {
    open();
    together(
        {[&] { client_->handshake(kNever).value(); }, [&] { server_->handshake(kNever).value(); }});
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{GetParam()};
  std::optional<Pipeline> to_client_;
  std::optional<Pipeline> to_server_;
  Hook on_read_;
  Hook on_write_;
  Hook nothing_;
  std::optional<Stream> client_;
  std::optional<Stream> server_;
};

TEST_P(CallbackTransportSim, CarriesBothDirectionsAtOnceAndBothEnds) {
  const std::string text(50'000, 'x');
  world_.run([&] {
    handshake();
    const auto send = [&](Stream& stream) {
      stream.write(bytes(text), kNever).value();
      stream.shutdown_write(kNever).value();
    };
    const auto receive = [&](Stream& stream) {
      EXPECT_TRUE(test::read_text(stream, text.size() + 1, kNever) == text);
    };
    together({[&] { send(*client_); }, [&] { receive(*client_); }, [&] { send(*server_); },
              [&] { receive(*server_); }});
    together({[&] { EXPECT_TRUE(client_->close(kNever)); },
              [&] { EXPECT_TRUE(server_->close(kNever)); }});
  });
}

// The functions are never called inside OpenSSL, so they may use TLS themselves.
TEST_P(CallbackTransportSim, FunctionsMayUseAnotherTlsConnection) {
  const auto over = [](Stream& below) {
    return std::make_unique<CallbackTransport>(CallbackTransport::Functions{
        .read = [&below](std::span<std::byte> into,
                         Deadline deadline) { return below.read(into, deadline); },
        .write = [&below](std::span<const std::byte> from,
                          Deadline deadline) -> Result<std::size_t> {
          if (const auto sent = below.write(from, deadline); !sent) return sent.error();
          return from.size();
        }});
  };
  const std::string text(20'000, 'x');
  world_.run([&] {
    handshake();
    auto client = Stream::create(client_context_, over(*client_), {.server_name = "server.test"});
    auto server = Stream::create(server_context_, over(*server_));
    together({[&] { client->write(bytes(text), kNever).value(); },
              [&] { EXPECT_TRUE(test::read_text(*client, text.size(), kNever) == text); },
              [&] { server->write(bytes(text), kNever).value(); },
              [&] { EXPECT_TRUE(test::read_text(*server, text.size(), kNever) == text); }});
  });
}

TEST_P(CallbackTransportSim, ErrorOfTheReadFunctionComesOutWhole) {
  const Error told = Error{.code = Errc::kExhausted,
                           .verify_code = 7,
                           .sys_errno = EDQUOT,
                           .openssl_code = 42,
                           .operation = "quota"}
                         .with("tunnel");
  for (const bool in_handshake : {true, false}) {
    world_.run([&] {
      on_read_ = nullptr;
      if (!in_handshake) handshake();
      if (in_handshake) open();
      on_read_ = [&](Deadline) { return told; };
      const auto failed =
          in_handshake ? client_->handshake(kNever).error() : read_some(*client_).error();
      EXPECT_EQ(failed.code, told.code);
      EXPECT_EQ(failed.verify_code, told.verify_code);
      EXPECT_EQ(failed.sys_errno, told.sys_errno);
      EXPECT_EQ(failed.openssl_code, told.openssl_code);
      EXPECT_STREQ(failed.operation, told.operation);
      EXPECT_EQ(failed.context(), "tunnel");
      on_read_ = [](Deadline) -> std::optional<Error> { return ADD_FAILURE(), std::nullopt; };
      EXPECT_EQ(read_some(*client_).error().code, told.code) << "and it stays so";
      EXPECT_EQ(client_->write(bytes("x"), kNever).error().code, told.code);
      client_.reset();
      server_.reset();
    });
  }
}

TEST_P(CallbackTransportSim, ErrorOfTheWriteFunctionEndsWritingOnly) {
  world_.run([&] {
    handshake();
    on_write_ = [](Deadline) {
      return Error{.code = Errc::kUnreachable, .sys_errno = ENETDOWN, .operation = "radio"};
    };
    const auto failed = client_->write(bytes("x"), kNever);
    EXPECT_EQ(failed.error().code, Errc::kUnreachable);
    EXPECT_EQ(failed.error().sys_errno, ENETDOWN);
    EXPECT_STREQ(failed.error().operation, "radio");
    EXPECT_EQ(client_->write(bytes("x"), kNever).error().code, Errc::kUnreachable);
    together({[&] { server_->write(bytes("still here"), kNever).value(); },
              [&] { EXPECT_EQ(test::read_text(*client_, 10, kNever), "still here"); }});
  });
}

TEST_P(CallbackTransportSim, WriteFunctionThatTakesNothingIsToldSo) {
  world_.run([&] {
    auto client = Stream::create(client_context_,
                                 std::make_unique<CallbackTransport>(CallbackTransport::Functions{
                                     .read = [](auto, Deadline) { return std::size_t{0}; },
                                     .write = [](auto, Deadline) { return std::size_t{0}; }}),
                                 {.server_name = test::kServerName});
    EXPECT_EQ((*client).handshake(kNever).error().code, Errc::kInvalid);
  });
}

TEST_P(CallbackTransportSim, ExceptionKeepsItsTypeAndEndsTheConnection) {
  const auto owned = std::make_shared<int>(0);
  for (const bool reading : {true, false}) {
    for (const bool in_handshake : {true, false}) {
      world_.run([&] {
        on_read_ = on_write_ = nullptr;
        if (!in_handshake) handshake();
        if (in_handshake) open();
        (reading ? on_read_ : on_write_) = [owned](Deadline) -> std::optional<Error> {
          (void)this_fiber::sleep_until(this_fiber::after(milliseconds(5)));
          throw OfTheUser(42);
        };
        try {
          if (in_handshake) {
            (void)client_->handshake(kNever);
          } else if (reading) {
            (void)read_some(*client_);
          } else {
            (void)client_->write(bytes("x"), kNever);
          }
          ADD_FAILURE() << "nothing was thrown";
        } catch (const OfTheUser& thrown) {
          EXPECT_EQ(thrown.number, 42);
        }
        EXPECT_EQ(read_some(*client_).error().code, Errc::kDisconnected);
        EXPECT_EQ(client_->write(bytes("x"), kNever).error().code, Errc::kDisconnected);
        EXPECT_FALSE(client_->close(world_.after(seconds(1)))) << "and does not call it again";
        on_read_ = on_write_ = nullptr;
        client_.reset();
        server_.reset();
      });
    }
  }
  EXPECT_EQ(owned.use_count(), 1) << "nothing is left behind";
}

TEST_P(CallbackTransportSim, InterruptedReadsLoseNothing) {
  const std::string text(20'000, 'x');
  int interruptions = 0;
  world_.run([&] {
    handshake();
    together({[&] {
                for (std::size_t at = 0; at < text.size(); at += 500) {
                  client_->write(bytes(text).subspan(at, 500), kNever).value();
                  (void)this_fiber::sleep_until(this_fiber::after(world_.up_to(milliseconds(9))));
                }
              },
              [&] {
                for (std::size_t have = 0; have < text.size();) {
                  const auto got = read_some(*server_, world_.after(world_.up_to(milliseconds(5))));
                  have += got ? *got : 0;
                  if (got) continue;
                  EXPECT_EQ(got.error().code, Errc::kTimedOut);
                  ++interruptions;
                }
              }});
  });
  EXPECT_GT(interruptions, 0);
}

TEST_P(CallbackTransportSim, CancellationIsNoFailure) {
  world_.run([&] {
    handshake();
    scope([&](Scope& fibers) {
      auto task = fibers.spawn(
          "reader", [&] { EXPECT_EQ(read_some(*server_).error().code, Errc::kCancelled); });
      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
      task->cancel();
    });
    together({[&] { client_->write(bytes("x"), kNever).value(); },
              [&] { EXPECT_EQ(test::read_text(*server_, 1, kNever), "x"); }});
  });
}

// A limit of the function's own is no deadline of ours.
TEST_P(CallbackTransportSim, TimeoutBeforeTheDeadlineIsAFailure) {
  world_.run([&] {
    handshake();
    on_read_ = [](Deadline) { return Error{.code = Errc::kTimedOut, .operation = "own limit"}; };
    EXPECT_STREQ(read_some(*client_, world_.after(seconds(9))).error().operation, "own limit");
    on_read_ = nullptr;
    EXPECT_STREQ(read_some(*client_).error().operation, "own limit") << "it stays so";
  });
}

// And nobody takes it for done while it goes on.
TEST_P(CallbackTransportSim, InterruptedWriteGoesOnWhereItWas) {
  const std::string text = "abcdefgh";
  std::string taken;
  bool stalls = true;
  CallbackTransport transport(
      {.read = [](auto, Deadline) { return std::size_t{0}; },
       .write = [&](std::span<const std::byte> from, Deadline deadline) -> Result<std::size_t> {
         if (stalls && taken.size() == 3) {
           (void)this_fiber::sleep_until(deadline);
           return Error{.code = Errc::kTimedOut, .operation = "radio"};
         }
         const auto part = from.first(std::min<std::size_t>(from.size(), 3));
         for (const std::byte each : part) taken += static_cast<char>(each);
         return part.size();
       }});
  world_.run([&] {
    EXPECT_EQ(transport.try_write(bytes(text)).kind, IoResult::Kind::kWouldBlock);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("writer", [&] {
        EXPECT_EQ(transport.wait(Interest::kWrite, world_.after(seconds(1))), Wake::kTimedOut);
      }));
      while (taken.size() < 3) ASSERT_TRUE(this_fiber::yield());
      EXPECT_EQ(transport.try_write(bytes(text)).kind, IoResult::Kind::kWouldBlock);
    });
    EXPECT_EQ(transport.try_write(bytes(text)).bytes, 3u);
    stalls = false;
    EXPECT_EQ(transport.try_write(bytes(text).subspan(3)).kind, IoResult::Kind::kWouldBlock);
    EXPECT_EQ(transport.wait(Interest::kWrite, kNever), Wake::kReady);
    EXPECT_EQ(transport.try_write(bytes(text).subspan(3)).bytes, 5u);
    EXPECT_EQ(taken, text);
  });
}

TEST_P(CallbackTransportSim, AlertLeavesWithClose) {
  const Context stranger = Context::create(Role::kClient, Trust::kNothing).value();
  world_.run([&] {
    open();
    client_ = Stream::create(stranger,
                             std::make_unique<CallbackTransport>(
                                 functions(*to_client_, *to_server_, on_read_, on_write_)),
                             {.server_name = test::kServerName})
                  .value();
    together({[&] {
                EXPECT_EQ(client_->handshake(kNever).error().code, Errc::kUntrusted);
                (void)client_->close(world_.after(seconds(9)));
              },
              [&] {
                const auto shaken = server_->handshake(kNever);
                const auto got = shaken ? read_some(*server_) : shaken.error();
                EXPECT_EQ(got.error().code, Errc::kProtocol) << got.error().message();
                (void)server_->close(world_.after(seconds(9)));
              }});
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, CallbackTransportSim, test::seeds(1, 65), test::kSeedName);

}  // namespace
}  // namespace heddle
