// Two fibers meet in one TLS connection: OpenSSL's objects take one at a time, and the first may
// be parked inside a callback.
#include <array>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"
#include "heddle/wait_queue.h"

#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"
#include "tls/machine/engine.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::bytes;
using test::read_some;
using test::together;

constexpr Deadline kNever = Deadline::never();

class EngineTurnsSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  // What the client does when a ticket comes, in the middle of SSL_read or SSL_write.
  using OnSession = std::function<void(SSL*)>;

  EngineTurnsSim() {
    SSL_CTX* const ctx = client_context_.native_handle();
    SSL_CTX_set_app_data(ctx, &on_session_);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT);
    SSL_CTX_sess_set_new_cb(ctx, [](SSL* ssl, SSL_SESSION*) {
      const auto& hook = *static_cast<OnSession*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
      try {
        if (hook) hook(ssl);
        // tidy: as any callback of ours has to: OpenSSL's frames are no way for it.
      } catch (...) {
        tls::Engine::of(ssl)->keep_exception(std::current_exception());
      }
      return 0;
    });
    server_context_.set_num_tickets(1);
  }

  void handshake() {
    client_ = test::client(client_context_, pipe_.a());
    server_ = test::server(server_context_, pipe_.b());
    together(
        {[&] { client_->handshake(kNever).value(); }, [&] { server_->handshake(kNever).value(); }});
  }

  // Parks the fiber that is in the callback until open_gate(), whatever becomes of it.
  OnSession park() {
    return [this](SSL*) {
      inside_ = true;
      arrived_.wake_all();
      while (!gate_open_) (void)gate_.wait(kNever, Cancellable::kNo);
      inside_ = false;
    };
  }
  void await_parked() {
    while (!inside_) (void)arrived_.wait(kNever);
  }
  void open_gate() {
    gate_open_ = true;
    gate_.wake_all();
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  OnSession on_session_;
  sim::World world_{GetParam()};
  sim::Pipe pipe_{world_};
  std::optional<Stream> client_;
  std::optional<Stream> server_;
  bool inside_ = false;
  bool gate_open_ = false;
  WaitQueue arrived_;
  WaitQueue gate_;
};

TEST_P(EngineTurnsSim, SecondFiberWaitsAndBothFinish) {
  pipe_.set_faults({.short_io = 3, .would_block = 4, .spurious_wake = 8});
  world_.run([&] {
    handshake();
    on_session_ = park();
    TimePoint written{};
    together({[&] { EXPECT_EQ(test::read_text(*client_, 4, kNever), "pong"); },
              [&] {
                await_parked();
                EXPECT_TRUE(client_->write(bytes("ping"), kNever));
                written = world_.now();
              },
              [&] {
                await_parked();
                EXPECT_EQ(client_->peek({}, kNever).value(), 0u) << "which asks nothing of OpenSSL";
                (void)this_fiber::sleep_until(this_fiber::after(seconds(5)));
                EXPECT_EQ(written, TimePoint{}) << "entered an SSL that another fiber is in";
                open_gate();
              },
              [&] {
                EXPECT_EQ(test::read_text(*server_, 4, kNever), "ping");
                server_->write(bytes("pong"), kNever).value();
              }});
    EXPECT_NE(written, TimePoint{});
  });
}

TEST_P(EngineTurnsSim, SecondFiberTimesOutAtItsDeadlineAndMayComeBack) {
  world_.run([&] {
    handshake();
    on_session_ = park();
    together({[&] {
                EXPECT_EQ(client_->handshake(kNever).has_value(), true);
                EXPECT_EQ(test::read_text(*client_, 4, kNever), "pong");
              },
              [&] {
                await_parked();
                const Deadline deadline = world_.after(seconds(3));
                const auto peeked = [&] {
                  std::array<std::byte, 1> one{};
                  return client_->peek(one, deadline);
                }();
                EXPECT_EQ(peeked.error().code, Errc::kTimedOut);
                EXPECT_EQ(world_.now(), deadline.time());
                open_gate();
                EXPECT_TRUE(client_->write(bytes("ping"), kNever));
              },
              [&] {
                EXPECT_EQ(test::read_text(*server_, 4, kNever), "ping");
                server_->write(bytes("pong"), kNever).value();
              }});
  });
}

TEST_P(EngineTurnsSim, SecondFiberThatIsCancelledSaysSo) {
  world_.run([&] {
    handshake();
    on_session_ = park();
    scope([&](Scope& fibers) {
      (void)fibers.spawn("reader",
                         [&] { EXPECT_EQ(test::read_text(*client_, 4, kNever), "pong"); });
      await_parked();
      auto second = fibers.spawn("second", [&] {
        EXPECT_EQ(client_->shutdown_write(kNever).error().code, Errc::kCancelled);
      });
      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
      second->cancel();
      EXPECT_TRUE(second->join());
      open_gate();
      server_->write(bytes("pong"), kNever).value();
    });
  });
}

// Waiting for itself would be for ever.
TEST_P(EngineTurnsSim, CallbackThatUsesItsOwnConnectionIsRefused) {
  std::optional<Error> refused_read;
  std::optional<Error> refused_write;
  world_.run([&] {
    handshake();
    on_session_ = [&](SSL*) {
      refused_read = read_some(*client_).error();
      refused_write = client_->write(bytes("x"), kNever).error();
    };
    together({[&] { EXPECT_EQ(test::read_text(*client_, 4, kNever), "pong"); },
              [&] { server_->write(bytes("pong"), kNever).value(); }});
  });
  for (const auto& refused : {refused_read, refused_write}) {
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->code, Errc::kInvalid);
    EXPECT_STREQ(refused->detail, "a callback of the same connection makes the call");
  }
}

// Several wait, and each has its turn.
TEST_P(EngineTurnsSim, ManyFibersWaitForOneCallback) {
  world_.run([&] {
    handshake();
    on_session_ = park();
    int peeked = 0;
    const auto peek = [&] {
      await_parked();
      std::array<std::byte, 1> one{};
      EXPECT_EQ(client_->peek(one, kNever).value(), 1u);
      ++peeked;
    };
    together({[&] {  // The one that is parked inside.
                std::array<std::byte, 1> one{};
                EXPECT_EQ(client_->peek(one, kNever).value(), 1u);
              },
              peek, peek, peek, peek,
              [&] {
                await_parked();
                server_->write(bytes("pong"), kNever).value();
                (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
                EXPECT_EQ(peeked, 0);
                open_gate();
              }});
    EXPECT_EQ(peeked, 4);
    EXPECT_EQ(test::read_text(*client_, 4, kNever), "pong");
  });
}

struct OfTheUser : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Also after a park, and while another fiber waits for its turn.
TEST_P(EngineTurnsSim, WhatACallbackThrowsComesOutOfTheCallThatNeededIt) {
  world_.run([&] {
    handshake();
    const auto wait_inside = park();
    on_session_ = [&](SSL* ssl) {
      wait_inside(ssl);
      throw OfTheUser("no room for sessions");
    };
    together({[&] {
                try {
                  (void)read_some(*client_);
                  ADD_FAILURE() << "nothing was thrown";
                } catch (const OfTheUser& thrown) {
                  EXPECT_STREQ(thrown.what(), "no room for sessions");
                }
              },
              [&] {
                await_parked();
                const auto sent = client_->write(bytes("x"), kNever);
                EXPECT_FALSE(sent) << "the connection was over when its turn came";
                EXPECT_EQ(sent ? Errc::kInternal : sent.error().code, Errc::kDisconnected);
              },
              [&] {
                await_parked();
                EXPECT_FALSE(client_->handshake(kNever)) << "nor is anybody forgotten";
              },
              [&] {
                await_parked();
                (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
                open_gate();
              }});
    EXPECT_EQ(read_some(*client_).error().code, Errc::kDisconnected);
  });
}

// A callback that parks in the handshake of one connection, which was begun by a write of small
// pieces, while another connection gathers its own pieces in the same buffer.
TEST_P(EngineTurnsSim, PiecesOfAWriteSurviveACallbackThatParksInItsHandshake) {
  Context parking = test::client_context();
  OnSession when_done = [this, wait_inside = park()](SSL* ssl) {
    if (!gate_open_) wait_inside(ssl);
  };
  SSL_CTX_set_app_data(parking.native_handle(), &when_done);
  SSL_CTX_set_info_callback(parking.native_handle(), [](const SSL* ssl, int where, int) {
    if ((where & SSL_CB_HANDSHAKE_DONE) == 0) return;
    (*static_cast<OnSession*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl))))(nullptr);
  });
  sim::Pipe other(world_);
  world_.run([&] {
    handshake();
    auto client = test::client(parking, other.a());
    auto server = test::server(server_context_, other.b());
    const std::array mine{bytes("these are "), bytes("my pieces")};
    const std::array yours{bytes("and what is"), bytes(" not of it")};
    together({[&] { EXPECT_TRUE(client.write(mine, kNever)); },
              [&] { EXPECT_EQ(test::read_text(server, 19, kNever), "these are my pieces"); },
              [&] {
                await_parked();
                EXPECT_TRUE(client_->write(yours, kNever));
                open_gate();
              }});
    EXPECT_EQ(test::read_text(*server_, 21, kNever), "and what is not of it");
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, EngineTurnsSim, test::seeds(1, 65), test::kSeedName);

}  // namespace
}  // namespace heddle
