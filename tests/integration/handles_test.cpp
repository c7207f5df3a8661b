// Handles that move: what goes on, and what a handle answers that was moved from.
#include <array>
#include <chrono>
#include <csignal>
#include <functional>
#include <future>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

#include "heddle/callback_transport.h"
#include "heddle/listener.h"
#include "heddle/offload.h"
#include "heddle/runtime.h"
#include "heddle/signals.h"
#include "heddle/sync.h"
#include "heddle/tls/memory_bio.h"
#include "heddle/tls/native.h"
#include "heddle/tls/ssl_object.h"
#include "heddle/tls/stream.h"
#include "heddle/tls/stream_transport.h"

#include "support/tls_over_tcp.h"

namespace heddle {
namespace {

template <typename... Handles>
constexpr bool kMoveOnly = ((std::is_nothrow_move_constructible_v<Handles> &&
                             std::is_nothrow_move_assignable_v<Handles> &&
                             !std::is_copy_constructible_v<Handles> &&
                             !std::is_copy_assignable_v<Handles>)&&...);
static_assert(kMoveOnly<Runtime, Socket, Listener, Signals, OffloadPool, Stream, SslObject>);
static_assert(std::is_move_constructible_v<StreamTransport>);
static_assert(std::is_move_constructible_v<CallbackTransport>);

class HandlesTest : public test::TlsOverTcp {
 protected:
  // `call` parks on `handle`, which has moved when `wake` ends the wait, and until it returns.
  template <typename Handle>
  static void move_while(Handle& handle, const std::function<void(Handle&)>& call,
                         const std::function<void(Handle&)>& wake) {
    scope([&](Scope& fibers) {
      auto inside = fibers.spawn("inside the call", [&] { call(handle); });
      ASSERT_TRUE(inside);
      ASSERT_TRUE(this_fiber::yield());
      Handle moved(std::move(handle));
      wake(moved);
      EXPECT_TRUE(inside->join());
      handle = std::move(moved);
    });
  }

  Listener listen() {
    return Listener::create(runtime_, Address::parse("127.0.0.1:0").value()).value();
  }
};

TEST_F(HandlesTest, StreamMovesWhileAFiberReadsIt) {
  run([this] {
    auto made = connected();
    move_while<Stream>(
        *made.server,
        [&](Stream& stream) { EXPECT_EQ(test::read_text(stream, 1, patience()), "x"); },
        [&](Stream& /*stream*/) { made.client->write("x", patience()).value(); });
    move_while<Stream>(
        *made.server,
        [&](Stream& stream) { EXPECT_EQ(stream.close(patience()).has_value(), true); },
        [&](Stream& /*stream*/) { made.client->close(patience()).value(); });
  });
}

TEST_F(HandlesTest, SocketMovesWhileAFiberReadsWritesOrClosesIt) {
  run([this] {
    auto [client, server] = sockets();
    std::array<std::byte, 1> one{};
    std::string text = test::pattern(4'000'000);
    Socket& peer = client;
    move_while<Socket>(
        server, [&](Socket& socket) { EXPECT_EQ(socket.read(one, patience()).value(), 1U); },
        [&](Socket& /*socket*/) { peer.write("x", patience()).value(); });
    move_while<Socket>(
        server, [&](Socket& socket) { EXPECT_TRUE(socket.write(text, patience())); },
        [&](Socket& /*socket*/) {
          std::string all(text.size(), '\0');
          auto rest = std::as_writable_bytes(std::span(all));
          while (!rest.empty()) rest = rest.subspan(peer.read(rest, patience()).value());
          EXPECT_TRUE(all == text);
        });
    move_while<Socket>(
        server, [&](Socket& socket) { EXPECT_TRUE(socket.close(patience())); },
        [&](Socket& /*socket*/) { EXPECT_TRUE(peer.close(patience())); });
  });
}

TEST_F(HandlesTest, ListenerMovesWhileAFiberAccepts) {
  run([this] {
    auto listener = listen();
    const Address address = listener.address();
    move_while<Listener>(
        listener, [&](Listener& handle) { EXPECT_TRUE(handle.accept(patience())); },
        [&](Listener& /*handle*/) { EXPECT_TRUE(connect(runtime_, address, patience())); });
    move_while<Listener>(
        listener,
        [&](Listener& handle) {
          EXPECT_EQ(handle.accept(patience()).error().code, Errc::kDisconnected);
        },
        [](Listener& handle) { handle.close(); });
  });
}

TEST_F(HandlesTest, SignalsMoveWhileAFiberWaits) {
  run([this] {
    auto signals = Signals::create(runtime_, {SIGUSR1}).value();
    move_while<Signals>(
        signals, [&](Signals& handle) { EXPECT_EQ(handle.wait(patience()).value(), SIGUSR1); },
        [](Signals& /*handle*/) { ASSERT_EQ(std::raise(SIGUSR1), 0); });
  });
}

TEST_F(HandlesTest, OffloadPoolMovesWhileItRunsAFunction) {
  run([this] {
    auto pool = OffloadPool::create({.threads = 1}).value();
    std::promise<void> gate;
    move_while<OffloadPool>(
        pool,
        [&](OffloadPool& handle) {
          EXPECT_TRUE(handle.run([&] { gate.get_future().wait(); }, patience()));
        },
        [&](OffloadPool& handle) {
          gate.set_value();
          EXPECT_EQ(handle.threads(), 1U);
        });
  });
}

TEST_F(HandlesTest, RuntimeMovesBeforeItRunsAndWhileItDoes) {
  auto first = Runtime::create().value();
  std::optional<Runtime> second;
  auto third = Runtime::create().value();  // Outlives the listener, which ends up on it.
  auto listener = Listener::create(first, Address::parse("127.0.0.1:0").value()).value();
  third = std::move(first);
  ASSERT_TRUE(third.spawn("moves its runtime", [&] {
    EXPECT_EQ(&this_fiber::runtime(), &third);
    second.emplace(std::move(third));
    EXPECT_EQ(&this_fiber::runtime(), &*second);
    auto client = connect(*second, listener.address(), second->after(std::chrono::seconds(60)));
    ASSERT_TRUE(client);
    EXPECT_TRUE(listener.accept(Deadline::never()));
    third = std::move(*second);
    EXPECT_EQ(&this_fiber::runtime(), &third);
    EXPECT_EQ(third.stats().fibers, 1U);
    third.post([&third] { EXPECT_EQ(&this_fiber::runtime(), &third); });
    (void)this_fiber::yield();
  }));
  third.run();
}

// A race of addresses goes on in fibers of its own.
TEST_F(HandlesTest, RuntimeMovesWhileAConnectionIsMade) {
  auto runtime = Runtime::create().value();
  auto listener = Listener::create(runtime, Address::parse("127.0.0.1:0").value()).value();
  ASSERT_TRUE(runtime.spawn("moves it", [&] {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("connects", [&] {
        const auto until = this_fiber::after(std::chrono::seconds(60));
        const auto made = connect(runtime, "127.0.0.1", listener.address().port(), until);
        EXPECT_TRUE(made) << made.error().message();
      }));
      ASSERT_TRUE(this_fiber::yield());
      Runtime moved = std::move(runtime);
      EXPECT_TRUE(listener.accept(this_fiber::after(std::chrono::seconds(60))));
      runtime = std::move(moved);
    });
  }));
  runtime.run();
}

TEST_F(HandlesTest, AssigningEndsWhatWasThere) {
  run([this] {
    auto one = sockets();
    auto other = sockets();
    one.first = std::move(other.first);
    std::array<std::byte, 1> end{};
    EXPECT_EQ(one.second.read(end, patience()).value(), 0U);
    EXPECT_TRUE(one.first.write("x", patience()));
    EXPECT_EQ(other.second.read(end, patience()).value(), 1U);
    other.first = std::move(one.first);  // To one that was moved from.
    EXPECT_TRUE(other.first.write("x", patience()));
  });
}

TEST_F(HandlesTest, StreamOwnsATransportThatIsGivenByValue) {
  run([this] {
    auto [client, server] = sockets();
    auto inner = Stream::create(server_context_, std::move(server)).value();
    auto below =
        Stream::create(client_context_, std::move(client), {.server_name = test::kServerName})
            .value();
    auto outer = Stream::create(client_context_, StreamTransport(std::move(below)),
                                {.server_name = test::kServerName})
                     .value();
    auto other = Stream::create(server_context_, StreamTransport(inner)).value();
    together([&] { EXPECT_TRUE(outer.handshake(patience())); },
             [&] { EXPECT_TRUE(other.handshake(patience())); });
    EXPECT_NE(dynamic_cast<StreamTransport*>(&outer.transport()), nullptr);
  });
}

TEST_F(HandlesTest, StreamAdoptsATransportThatIsGivenByValue) {
  run([this] {
    auto [client, server] = sockets();
    auto naked = NakedConnection::create(server_context_).value();
    auto adopted = Stream::adopt(std::move(naked), std::move(server)).value();
    auto stream =
        Stream::create(client_context_, std::move(client), {.server_name = test::kServerName})
            .value();
    together([&] { EXPECT_TRUE(stream.handshake(patience())); },
             [&] { EXPECT_TRUE(adopted.handshake(patience())); });
  });
}

using HandlesDeathTest = HandlesTest;

TEST_F(HandlesDeathTest, CallOfOneThatWasMovedFromIsNamed) {
  auto pool = OffloadPool::create({.threads = 1}).value();
  { const OffloadPool joined = std::move(pool); }  // Death tests fork.
  auto signals = Signals::create(runtime_, {SIGUSR1}).value();
  auto listener = listen();
  auto runtime = Runtime::create().value();
  run([&] {
    auto made = open();
    auto [socket, peer] = sockets();
    MemoryBio incoming;
    MemoryBio outgoing;
    auto object = SslObject::create(server_context_, incoming, outgoing).value();
    const auto moved = std::tuple(std::move(signals), std::move(listener), std::move(runtime),
                                  std::move(socket), std::move(object));
    const Stream stream = std::move(*made.server);
    std::array<std::byte, 1> one{};
    // NOLINTBEGIN(bugprone-use-after-move): what the test is about.
    EXPECT_DEATH((void)made.server->read(one, kNever),
                 "Stream::read\\(\\) of a handle that was moved from: it may only be assigned to");
    EXPECT_DEATH((void)made.server->native_handle(), "Stream::native_handle\\(\\)");
    EXPECT_DEATH((void)socket.write("x", kNever), "Socket::write\\(\\) of a handle that was");
    EXPECT_DEATH((void)socket.try_read(one), "Socket::try_read\\(\\)");
    EXPECT_DEATH((void)listener.accept(kNever), "Listener::accept\\(\\) of a handle that was");
    EXPECT_DEATH((void)signals.wait(kNever), "Signals::wait\\(\\) of a handle that was");
    EXPECT_DEATH((void)pool.run([] {}, kNever), "OffloadPool::run\\(\\) of a handle that");
    EXPECT_DEATH((void)object.handshake(), "SslObject::handshake\\(\\) of a handle that was");
    EXPECT_DEATH(runtime.run(), "Runtime::run\\(\\) of a handle that was moved from");
    EXPECT_DEATH((void)runtime.spawn("fiber", [] {}), "Runtime::spawn\\(\\) of a handle");
    EXPECT_DEATH(runtime.stop(), "Runtime::stop\\(\\) of a handle");
    // NOLINTEND(bugprone-use-after-move)
  });
}

}  // namespace
}  // namespace heddle
