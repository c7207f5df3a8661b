// Back from TLS to plain text on a connection that lives on: no byte is lost.
#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"

#include "support/forwarding_transport.h"
#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::bytes;
using test::read_some;

constexpr Deadline kNever = Deadline::never();

void send_plain(Transport& transport, std::string_view text) {
  auto rest = bytes(text);
  while (!rest.empty()) {
    const IoResult io = transport.try_write(rest);
    if (io.kind == IoResult::Kind::kBytes) rest = rest.subspan(io.bytes);
    if (io.kind == IoResult::Kind::kWouldBlock) (void)transport.wait(Interest::kWrite, kNever);
  }
}

std::string read_plain(Transport& transport, std::size_t count) {
  std::string all;
  std::array<std::byte, 64> some{};
  while (all.size() < count) {
    const IoResult io = transport.try_read(some);
    if (io.kind == IoResult::Kind::kBytes) {
      all.append(reinterpret_cast<const char*>(some.data()), io.bytes);
    } else {
      EXPECT_EQ(transport.wait(Interest::kRead, kNever), Wake::kReady);
    }
  }
  return all;
}

class ReleaseSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  void run(const std::function<void()>& client, const std::function<void()>& server) {
    world_.run([&] {
      client_ =
          Stream::create(client_context_, std::make_unique<test::ForwardingTransport>(pipe_.a()),
                         {.server_name = test::kServerName})
              .value();
      server_ = test::server(server_context_, pipe_.b());
      test::together({client, server});
    });
  }

  sim::World world_{GetParam()};
  sim::Pipe pipe_{world_, {.short_io = 3, .would_block = 3}};
  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  std::optional<Stream> client_;
  std::optional<Stream> server_;
};

TEST_P(ReleaseSim, PlainTextBehindTheEndIsGivenBack) {
  const std::string plain(300, 'p');
  run(
      [&] {
        client_->handshake(kNever).value();
        EXPECT_EQ(test::read_text(*client_, 4, kNever), "last");
        EXPECT_EQ(read_some(*client_).value(), 0U);
        client_->shutdown_write(kNever).value();
        Stream::Released released = client_->release().value();
        ASSERT_NE(released.transport, nullptr);
        std::string got(reinterpret_cast<const char*>(released.unread.data()),
                        released.unread.size());
        got += read_plain(*released.transport, plain.size() - got.size());
        EXPECT_EQ(got, plain);
        EXPECT_EQ(read_some(*client_).error().code, Errc::kDisconnected);
        EXPECT_EQ(client_->close(kNever).error().code, Errc::kDisconnected);
        EXPECT_EQ(client_->release().error().code, Errc::kDisconnected);
        client_.reset();
        send_plain(*released.transport, "thanks");
      },
      [&] {
        server_->write(bytes("last"), kNever).value();
        server_->shutdown_write(kNever).value();
        send_plain(pipe_.b(), plain);
        EXPECT_EQ(read_some(*server_).value(), 0U);
        const Stream::Released released = server_->release().value();
        EXPECT_EQ(released.transport, nullptr) << "it was lent";
        std::string got(reinterpret_cast<const char*>(released.unread.data()),
                        released.unread.size());
        got += read_plain(pipe_.b(), 6 - got.size());
        EXPECT_EQ(got, "thanks");
      });
}

TEST_P(ReleaseSim, WhatIsNotEndedIsNotReleased) {
  run(
      [&] {
        EXPECT_EQ(client_->release().error().code, Errc::kInvalid);
        client_->handshake(kNever).value();
        EXPECT_EQ(client_->release().error().code, Errc::kInvalid);
        client_->shutdown_write(kNever).value();
        EXPECT_EQ(client_->release().error().code, Errc::kInvalid) << "theirs is missing";
        EXPECT_EQ(test::read_text(*client_, 4, kNever), "data") << "nothing has changed";
        EXPECT_EQ(read_some(*client_).value(), 0U);
        EXPECT_TRUE(client_->release());
      },
      [&] {
        EXPECT_EQ(read_some(*server_).value(), 0U);
        EXPECT_EQ(server_->release().error().code, Errc::kInvalid) << "ours is missing";
        server_->write(bytes("data"), kNever).value();
        server_->shutdown_write(kNever).value();
        EXPECT_TRUE(server_->release());
      });
}

// OpenSSL would answer the first one when it reads the second.
TEST_P(ReleaseSim, KeysThatThePeerAsksForAfterOurEndAreNotSentBehindIt) {
  run(
      [&] {
        client_->handshake(kNever).value();
        client_->shutdown_write(kNever).value();
        EXPECT_EQ(test::read_text(*client_, 2, kNever), "ab");
        EXPECT_EQ(read_some(*client_).value(), 0U);
        const auto released = client_->release();
        ASSERT_TRUE(released) << released.error().message();
        send_plain(*released->transport, "plain");
      },
      [&] {
        EXPECT_EQ(read_some(*server_).value(), 0U);
        for (const char* text : {"a", "b"}) {
          EXPECT_EQ(SSL_key_update(server_->native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
          server_->write(bytes(text), kNever).value();
        }
        server_->shutdown_write(kNever).value();
        const Stream::Released released = server_->release().value();
        std::string got(reinterpret_cast<const char*>(released.unread.data()),
                        released.unread.size());
        got += read_plain(pipe_.b(), 5 - got.size());
        EXPECT_EQ(got, "plain");
      });
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReleaseSim, test::seeds(1, 21), test::kSeedName);

TEST(NullTest, NullTransportIsAnError) {
  const Context context = test::client_context();
  auto made = Stream::create(context, nullptr, {.server_name = test::kServerName});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::kInvalid);
}

}  // namespace
}  // namespace heddle
