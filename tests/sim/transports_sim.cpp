// Any object with try_read(), try_write() and wait() carries TLS, and nothing that it does comes
// out as anything else.
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

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"

#include "support/forwarding_transport.h"
#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::bytes;
using test::read_some;
using test::together;

constexpr Deadline kNever = Deadline::never();

// Hooked is a transport over another one. Hooks run before the call that they are named after.
class Hooked final : public Transport {
 public:
  explicit Hooked(Transport& below) : below_(below) {}

  std::function<std::optional<IoResult>()> before_read;
  std::function<std::optional<IoResult>()> before_write;
  std::function<void()> before_wait;
  std::optional<Error> known_failure;

  IoResult try_read(std::span<std::byte> into) override {
    if (const auto io = before_read ? before_read() : std::nullopt) return *io;
    return below_.try_read(into);
  }
  IoResult try_write(std::span<const std::byte> from) override {
    if (const auto io = before_write ? before_write() : std::nullopt) return *io;
    return below_.try_write(from);
  }
  std::optional<Error> failure() const override { return known_failure; }
  Wake wait(Interest interest, Deadline deadline) override {
    if (before_wait) before_wait();
    return below_.wait(interest, deadline);
  }
  void shutdown_write() noexcept override { below_.shutdown_write(); }

 private:
  Transport& below_;
};

// RateLimited lets through so many bytes a second each way: a bucket of tokens that time fills.
class RateLimited final : public Transport {
 public:
  RateLimited(sim::World& world, Transport& below, std::size_t bytes_per_second)
      : world_(world),
        below_(below),
        per_byte_(Duration(std::chrono::seconds(1)) / bytes_per_second),
        readable_at_(world.now()),
        writable_at_(world.now()) {}

  IoResult try_read(std::span<std::byte> into) override {
    const std::size_t most = std::min(into.size(), kBucketBytes);
    if (world_.now() < readable_at_) return {IoResult::Kind::kWouldBlock};
    return spend(below_.try_read(into.first(most)), readable_at_);
  }
  IoResult try_write(std::span<const std::byte> from) override {
    const std::size_t most = std::min(from.size(), kBucketBytes);
    if (world_.now() < writable_at_) return {IoResult::Kind::kWouldBlock};
    return spend(below_.try_write(from.first(most)), writable_at_);
  }
  Wake wait(Interest interest, Deadline deadline) override {
    const bool read = interest != Interest::kWrite && world_.now() >= readable_at_;
    const bool write = interest != Interest::kRead && world_.now() >= writable_at_;
    TimePoint filled = TimePoint::max();
    if (interest != Interest::kWrite && !read) filled = readable_at_;
    if (interest != Interest::kRead && !write) filled = std::min(filled, writable_at_);
    const Deadline until = std::min(Deadline::at(filled), deadline);
    const Wake wake = read || write ? below_.wait(both(read, write), until) : sleep(until);
    return wake == Wake::kTimedOut && until < deadline ? Wake::kReady : wake;
  }
  void shutdown_write() noexcept override { below_.shutdown_write(); }

 private:
  static constexpr std::size_t kBucketBytes = 500;

  // A direction whose bucket is empty is not one to ask for: what is below may well be ready there,
  // and would say so again and again, in no time.
  static Interest both(bool read, bool write) {
    if (read && write) return Interest::kReadOrWrite;
    return read ? Interest::kRead : Interest::kWrite;
  }

  static Wake sleep(Deadline until) {
    return this_fiber::sleep_until(until) ? Wake::kTimedOut : Wake::kCancelled;
  }

  IoResult spend(IoResult io, TimePoint& next) {
    next = world_.now() + per_byte_ * static_cast<Duration::rep>(io.bytes);
    return io;
  }

  sim::World& world_;
  Transport& below_;
  Duration per_byte_;
  TimePoint readable_at_;
  TimePoint writable_at_;
};

// Lossy changes, drops or doubles one byte of what is read: byte number `at`.
class Lossy final : public test::ForwardingTransport {
 public:
  enum class Harm : std::uint8_t { kFlip, kDrop, kDouble };

  Lossy(Transport& below, Harm harm, std::size_t at)
      : ForwardingTransport(below), harm_(harm), at_(at) {}

  bool done() const { return done_; }

  IoResult try_read(std::span<std::byte> into) override {
    IoResult io = below().try_read(into.first(std::min<std::size_t>(into.size(), 1'000)));
    if (done_ || io.kind != IoResult::Kind::kBytes) return io;
    if (at_ >= io.bytes) {
      at_ -= io.bytes;
      return io;
    }
    done_ = true;
    const auto hit = into.begin() + static_cast<std::ptrdiff_t>(at_);
    const auto end = into.begin() + static_cast<std::ptrdiff_t>(io.bytes);
    if (harm_ == Harm::kFlip) *hit ^= std::byte{4};
    if (harm_ == Harm::kDrop) std::copy(hit + 1, end, hit);
    if (harm_ == Harm::kDouble) std::copy_backward(hit, end, end + 1);
    if (harm_ == Harm::kDrop) --io.bytes;
    if (harm_ == Harm::kDouble) ++io.bytes;
    return io.bytes > 0 ? io : IoResult{IoResult::Kind::kWouldBlock};
  }

 private:
  Harm harm_;
  std::size_t at_;
  bool done_ = false;
};

struct OfTheUser : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class TransportsSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  void open(Transport& below_client) {
    client_ = test::client(client_context_, below_client);
    server_ = test::server(server_context_, pipe_.b());
  }
  void handshake(Transport& below_client) {
    open(below_client);
    together(
        {[&] { client_->handshake(kNever).value(); }, [&] { server_->handshake(kNever).value(); }});
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{GetParam()};
  sim::Pipe pipe_{world_};
  std::optional<Stream> client_;
  std::optional<Stream> server_;
};

TEST_P(TransportsSim, RateLimitedTransportTakesTheTimeThatItMust) {
  RateLimited limited(world_, pipe_.a(), 10'000);
  const std::string text(20'000, 'x');
  world_.run([&] {
    handshake(limited);
    const TimePoint began = world_.now();
    together({[&] { client_->write(bytes(text), kNever).value(); },
              [&] { EXPECT_TRUE(test::read_text(*client_, text.size(), kNever) == text); },
              [&] { server_->write(bytes(text), kNever).value(); },
              [&] { EXPECT_TRUE(test::read_text(*server_, text.size(), kNever) == text); }});
    EXPECT_GE(world_.now() - began, milliseconds(1'900));
    EXPECT_LE(world_.now() - began, milliseconds(2'300));
    // And a deadline in the middle of it holds.
    const Deadline deadline = world_.after(milliseconds(100));
    EXPECT_EQ(client_->write(bytes(text), deadline).error().code, Errc::kTimedOut);
    EXPECT_EQ(world_.now(), deadline.time());
  });
}

// Wherever the harm is done, in the handshake or after it: what is delivered is a true beginning
// of what was sent, and then TLS says that something is wrong.
TEST_P(TransportsSim, CorruptionIsDetectedAndNoWrongByteDelivered) {
  std::string text(8'000, 'x');
  for (int i = 0; char& each : text) each = static_cast<char>('a' + i++ * 7 % 26);
  for (const auto harm : {Lossy::Harm::kFlip, Lossy::Harm::kDrop, Lossy::Harm::kDouble}) {
    sim::Pipe pipe(world_);
    Lossy lossy(pipe.b(), harm, world_.below(8'200));
    const Context client_context = test::client_context();
    world_.run([&] {
      auto client = test::client(client_context, pipe.a());
      auto server = test::server(server_context_, lossy);
      const Deadline deadline = world_.after(seconds(60));
      std::string got;
      std::optional<Error> failure;
      together({[&] {
                  if (client.write(bytes(text), deadline)) (void)client.shutdown_write(deadline);
                  (void)client.close(deadline);
                },
                [&] {
                  std::array<char, 700> buffer{};
                  for (;;) {
                    const auto count =
                        server.read(std::as_writable_bytes(std::span(buffer)), deadline);
                    if (!count) failure = count.error();
                    if (!count || *count == 0) break;
                    got.append(buffer.data(), *count);
                  }
                  (void)server.close(deadline);
                }});
      ASSERT_TRUE(lossy.done());
      EXPECT_EQ(got, text.substr(0, got.size()));
      ASSERT_TRUE(failure) << "nobody has noticed";
      // Of a length that grew, the end is still awaited when the transport ends.
      EXPECT_TRUE(failure->code == Errc::kProtocol || failure->code == Errc::kTruncated ||
                  failure->code == Errc::kTimedOut)
          << failure->message();
      EXPECT_LT(got.size(), text.size() + 1);
    });
  }
}

// The parameter of each: what throws, or fails, and whether in the handshake.
enum class Where : std::uint8_t { kRead, kWrite, kWait };

TEST_P(TransportsSim, WhatATransportThrowsComesOutAsItIs) {
  for (const Where where : {Where::kRead, Where::kWrite, Where::kWait}) {
    for (const bool in_handshake : {true, false}) {
      sim::Pipe pipe(world_);
      Hooked hooked(pipe.a());
      const auto owned = std::make_shared<int>(0);
      const auto toss = [owned] { throw OfTheUser("cable eaten"); };
      const auto toss_io = [toss]() -> std::optional<IoResult> { return toss(), std::nullopt; };
      world_.run([&] {
        auto client = test::client(client_context_, hooked);
        auto server = test::server(server_context_, pipe.b());
        if (!in_handshake) {
          together({[&] { client.handshake(kNever).value(); },
                    [&] { server.handshake(kNever).value(); }});
          // The tickets.
          EXPECT_EQ(read_some(client, world_.after(seconds(1))).error().code, Errc::kTimedOut);
        }
        if (where == Where::kRead) hooked.before_read = toss_io;
        if (where == Where::kWrite) hooked.before_write = toss_io;
        if (where == Where::kWait) hooked.before_wait = toss;
        try {
          if (in_handshake) {
            (void)client.handshake(kNever);
          } else if (where == Where::kWrite) {
            (void)client.write(bytes("x"), kNever);
          } else {
            (void)read_some(client);
          }
          ADD_FAILURE() << "nothing was thrown";
        } catch (const OfTheUser& thrown) {
          EXPECT_STREQ(thrown.what(), "cable eaten");
        }
        hooked.before_read = hooked.before_write = nullptr;
        hooked.before_wait = nullptr;
        EXPECT_EQ(read_some(client).error().code, Errc::kDisconnected) << "the connection is over";
        EXPECT_EQ(client.write(bytes("x"), kNever).error().code, Errc::kDisconnected);
        EXPECT_EQ(client.handshake(kNever).error().code, Errc::kDisconnected);
      });
      hooked.before_read = hooked.before_write = nullptr;
      EXPECT_EQ(owned.use_count(), 3) << "the exception is gone";
    }
  }
}

TEST_P(TransportsSim, FailureOfATransportComesOutWhole) {
  const Error told{.code = Errc::kExhausted,
                   .verify_code = 9,
                   .sys_errno = ENOBUFS,
                   .openssl_code = 77,
                   .operation = "carrier pigeon"};
  const auto fails = []() -> std::optional<IoResult> {
    return IoResult{IoResult::Kind::kFailed, 0, ENOBUFS};
  };
  for (const bool reading : {true, false}) {
    for (const bool known : {true, false}) {
      sim::Pipe pipe(world_);
      Hooked hooked(pipe.a());
      world_.run([&] {
        auto client = test::client(client_context_, hooked);
        auto server = test::server(server_context_, pipe.b());
        together(
            {[&] { client.handshake(kNever).value(); }, [&] { server.handshake(kNever).value(); }});
        (reading ? hooked.before_read : hooked.before_write) = fails;
        if (known) hooked.known_failure = told;
        const Error failed =
            reading ? read_some(client).error() : client.write(bytes("x"), kNever).error();
        EXPECT_EQ(failed.sys_errno, ENOBUFS);
        EXPECT_EQ(failed.code, known ? Errc::kExhausted : Errc::kDisconnected);
        EXPECT_STREQ(failed.operation, known     ? "carrier pigeon"
                                       : reading ? "SSL_read"
                                                 : "SSL_write");
        EXPECT_EQ(failed.verify_code, known ? 9 : 0);
        EXPECT_EQ(failed.openssl_code, known ? 77u : 0u);
        EXPECT_EQ(client.write(bytes("x"), kNever).error().code, failed.code) << "and stays";
      });
    }
  }
}

// What close() says when the end of the transport does not come.
TEST_P(TransportsSim, CloseFailsWithWhatTheTransportKnows) {
  Hooked hooked(pipe_.a());
  world_.run([&] {
    handshake(hooked);
    hooked.before_read = []() -> std::optional<IoResult> {
      return IoResult{IoResult::Kind::kFailed, 0, EIO};
    };
    hooked.known_failure = Error{.code = Errc::kExhausted, .operation = "carrier pigeon"};
    EXPECT_STREQ(client_->close(kNever).error().operation, "carrier pigeon");
  });
}

// An alert that finds the transport full leaves with close().
TEST_P(TransportsSim, AlertThatHadToWaitIsSentByClose) {
  Hooked hooked(pipe_.a());
  world_.run([&] {
    handshake(hooked);
    (void)read_some(*client_, world_.after(seconds(1)));  // The tickets.
    hooked.before_write = []() -> std::optional<IoResult> {
      return IoResult{IoResult::Kind::kWouldBlock};
    };
    const std::array<std::byte, 40> junk{std::byte{23}, std::byte{3}, std::byte{3}, std::byte{0},
                                         std::byte{35}};
    ASSERT_EQ(pipe_.b().try_write(junk).bytes, junk.size());
    EXPECT_EQ(read_some(*client_).error().code, Errc::kProtocol);
    hooked.before_write = nullptr;
    together({[&] { (void)client_->close(world_.after(seconds(5))); },
              [&] {
                const auto got = read_some(*server_);
                EXPECT_EQ(got.error().code, Errc::kProtocol) << got.error().message();
                (void)server_->close(world_.after(seconds(5)));
              }});
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, TransportsSim, test::seeds(1, 65), test::kSeedName);

// Parking where OpenSSL's frames are on the stack: one line that says where.
class ParkingTransportDeathTest : public testing::TestWithParam<bool> {};

TEST_P(ParkingTransportDeathTest, StopsTheProcessAndNamesTheCall) {
  const bool reading = GetParam();
  const auto park = []() -> std::optional<IoResult> {
    (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
    return std::nullopt;
  };
  const auto talk = [&] {
    sim::World world(1);
    sim::Pipe pipe(world);
    Hooked hooked(pipe.a());
    (reading ? hooked.before_read : hooked.before_write) = park;
    const Context context = test::client_context();
    world.run([&] { (void)test::client(context, hooked).handshake(Deadline::never()); });
  };
  EXPECT_DEATH(talk(), reading ? "try_read\\(\\)[^\n]*\n$" : "try_write\\(\\)[^\n]*\n$");
}

INSTANTIATE_TEST_SUITE_P(ReadAndWrite, ParkingTransportDeathTest, testing::Bool());

}  // namespace
}  // namespace heddle
