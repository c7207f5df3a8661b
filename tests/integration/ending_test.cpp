// How connections end on the wire: a close never resets an answer in flight, and what is simply
// destroyed does. Seen by the peer, and in the packets where that is allowed (CAP_NET_RAW).
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/stream.h"
#include "heddle/tls/stream_transport.h"

#include "base/unique_fd.h"
#include "http/server.h"
#include "support/packet_capture.h"
#include "support/tls_pair.h"
#include "transport/drain.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::bytes;
using test::together;

// More than fits into the client's receive buffer, less than into the server's send buffer: when
// the server has written it, most of it has not left yet.
constexpr std::size_t kAnswerBytes = 100'000;  // Less than a socket takes unsent.
constexpr int kSendBufferBytes = 200'000;
constexpr int kReceiveBufferBytes = 8'192;
constexpr std::size_t kUnreadBytes = 5'000;

void set_option(int fd, int option, int value) {
  ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)), 0);
}

int ask(const Socket& socket, unsigned long request) {
  int value = 0;
  EXPECT_EQ(::ioctl(socket.native_handle(), request, &value), 0);
  return value;
}

// All that comes, and how it ends.
struct Received {
  std::size_t bytes = 0;
  Result<void> end;
};

class EndingTest : public testing::Test {
 protected:
  // Runs `body` in a fiber.
  void run(std::function<void()> body) {
    ASSERT_TRUE(runtime_.spawn("test", std::move(body)));
    runtime_.run();
  }

  Deadline patience() const { return runtime_.after(60s); }

  // A client with a small receive buffer, and a TLS connection on it.
  Socket connect_slow(const Address& to) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    set_option(fd.get(), SO_RCVBUF, kReceiveBufferBytes);
    // Completed in the backlog.
    EXPECT_EQ(::connect(fd.get(), to.data(), to.size()), 0);
    return Socket::adopt(runtime_, fd.release()).value();
  }

  void open() {
    auto listener = Listener::create(runtime_, Address::parse("127.0.0.1:0").value()).value();
    auto client = connect_slow(listener.address());
    auto server = listener.accept(patience()).value();
    set_option(server.native_handle(), SO_SNDBUF, kSendBufferBytes);
    client_port_ = client.local_address().value().port();
    server_port_ = server.local_address().value().port();
    client_ = Stream::create(client_context_, std::move(client), {.server_name = test::kServerName})
                  .value();
    server_ = Stream::create(server_context_, std::move(server)).value();
    client_socket_ = static_cast<Socket*>(&client_->transport());
    server_socket_ = static_cast<Socket*>(&server_->transport());
    together({[&] { client_->handshake(patience()).value(); },
              [&] { server_->handshake(patience()).value(); }});
  }

  // Bytes of the client lie in the server's kernel, and nobody reads them.
  void leave_unread() {
    const std::string unread(kUnreadBytes, 'u');
    ASSERT_TRUE(client_->write(bytes(unread), patience()));
    await_arrival();
  }

  // The server fails at a record of the client's, and more comes in behind it, unread.
  void break_tls() {
    const std::array<std::byte, 64> junk{std::byte{23}, std::byte{3}, std::byte{3}, std::byte{0},
                                         std::byte{59}};
    ASSERT_TRUE(client_socket_->write(junk, patience()));
    std::array<std::byte, 100> buffer{};
    EXPECT_EQ(server_->read(buffer, patience()).error().code, Errc::kProtocol);
    ASSERT_TRUE(client_socket_->write(junk, patience()));
    await_arrival();
  }

  void await_arrival() {
    while (ask(*server_socket_, FIONREAD) == 0) ASSERT_TRUE(this_fiber::yield());
  }

  void answer() {
    ASSERT_TRUE(server_->write(bytes(std::string(kAnswerBytes, 'a')), patience()));
    ASSERT_GT(ask(*server_socket_, SIOCOUTQ), static_cast<int>(kAnswerBytes / 2))
        << "the answer has left already: nothing is at stake";
  }

  Received receive() {
    Received received;
    std::array<std::byte, 4'096> buffer{};
    for (;;) {
      const auto count = client_->read(buffer, patience());
      if (!count) received.end = count.error();
      if (!count || *count == 0) return received;
      received.bytes += *count;
    }
  }

  // What the packets say. The client's FIN comes last in an orderly end.
  enum class Seen : std::uint8_t { kUnknown, kInOrder, kReset };
  Seen how_it_ended(std::uint16_t client_port, std::uint16_t server_port) {
    if (!capture_) return Seen::kUnknown;
    bool client_ended = false;
    bool reset = false;
    for (const auto& each : capture_->between(client_port, server_port)) {
      reset = reset || (each.rst && !client_ended);
      client_ended = client_ended || (each.fin && each.from == client_port);
    }
    return reset ? Seen::kReset : Seen::kInOrder;
  }

  void expect_on_the_wire(Seen expected) {
    const Seen seen = how_it_ended(client_port_, server_port_);
    if (seen == Seen::kUnknown) {
      GTEST_SKIP() << "no CAP_NET_RAW: what the peer saw was checked, the packets were not";
    }
    EXPECT_EQ(seen, expected);
  }

  // The server closes while the client, slowly, receives the answer.
  void expect_all_is_received_during_close() {
    Received received;
    together({[&] {
                const auto closed = server_->close(patience());
                EXPECT_TRUE(closed) << closed.error().message();
                server_.reset();
              },
              [&] {
                received = receive();
                EXPECT_TRUE(client_->close(patience()));
              }});
    EXPECT_EQ(received.bytes, kAnswerBytes);
    EXPECT_TRUE(received.end) << received.end.error().message();
  }

  Runtime runtime_ = Runtime::create().value();
  std::optional<test::PacketCapture> capture_ = test::PacketCapture::start();
  Context client_context_ = test::client_context();
  Context server_context_ = test::server_context();
  std::uint16_t client_port_ = 0;
  std::uint16_t server_port_ = 0;
  Socket* client_socket_ = nullptr;
  Socket* server_socket_ = nullptr;
  std::optional<Stream> client_;
  std::optional<Stream> server_;
};

TEST_F(EndingTest, CloseWithUnreadInputLosesNothing) {
  run([&] {
    open();
    leave_unread();
    answer();
    expect_all_is_received_during_close();
  });
  expect_on_the_wire(Seen::kInOrder);
}

// The counter-check: without close() the answer is lost, by a reset.
TEST_F(EndingTest, DestroyingWithUnreadInputResets) {
  run([&] {
    open();
    leave_unread();
    answer();
    server_.reset();
    const Received received = receive();
    EXPECT_LT(received.bytes, kAnswerBytes);
    EXPECT_FALSE(received.end);
    EXPECT_EQ(received.end.error().code, Errc::kDisconnected);
    EXPECT_EQ(received.end.error().sys_errno, ECONNRESET);
  });
  expect_on_the_wire(Seen::kReset);
}

TEST_F(EndingTest, TimedOutReadChangesNothingOfThat) {
  run([&] {
    open();
    std::array<std::byte, 100> buffer{};
    EXPECT_EQ(server_->read(buffer, runtime_.after(5ms)).error().code, Errc::kTimedOut);
    leave_unread();
    answer();
    expect_all_is_received_during_close();
  });
  expect_on_the_wire(Seen::kInOrder);
}

// Nor does a time-out end anything by itself: both directions go on.
TEST_F(EndingTest, TimedOutReadSendsNothing) {
  run([&] {
    open();
    std::array<std::byte, 100> buffer{};
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(server_->read(buffer, runtime_.after(1ms)).error().code, Errc::kTimedOut);
    }
    together({[&] { client_->write(bytes("after all"), patience()).value(); },
              [&] { EXPECT_EQ(test::read_text(*server_, 9, patience()), "after all"); }});
    EXPECT_TRUE(!capture_ || capture_->between(client_port_, server_port_).empty());
    together({[&] { EXPECT_TRUE(server_->close(patience())); },
              [&] {
                EXPECT_EQ(receive().bytes, 0u);
                EXPECT_TRUE(client_->close(patience()));
              }});
  });
  expect_on_the_wire(Seen::kInOrder);
}

// A write that timed out has ended writing, not what was written before.
TEST_F(EndingTest, TimedOutWriteIsTruncatedNotReset) {
  Received received;
  run([&] {
    open();
    leave_unread();
    const std::string much(4'000'000, 'm');
    EXPECT_EQ(server_->write(bytes(much), runtime_.after(5ms)).error().code, Errc::kTimedOut);
    together({[&] { EXPECT_TRUE(server_->close(patience())); },
              [&] {
                received = receive();
                (void)client_->close(patience());
              }});
    EXPECT_GT(received.bytes, 0u);
    EXPECT_LT(received.bytes, much.size());
    EXPECT_EQ(received.end.error().code, Errc::kTruncated) << received.end.error().message();
  });
  expect_on_the_wire(Seen::kInOrder);
}

// The alert that says why has to arrive though more comes in, and is not read.
TEST_F(EndingTest, AlertOfATlsFailureArrives) {
  run([&] {
    open();
    answer();
    break_tls();
    Received received;
    together({[&] {
                (void)server_->close(patience());
                server_.reset();
              },
              [&] {
                received = receive();
                (void)client_->close(patience());
              }});
    EXPECT_EQ(received.bytes, kAnswerBytes) << "what was written before the failure";
    ASSERT_FALSE(received.end);
    EXPECT_EQ(received.end.error().code, Errc::kProtocol) << received.end.error().message();
    EXPECT_NE(received.end.error().message().find("alert"), std::string::npos);
  });
  expect_on_the_wire(Seen::kInOrder);
}

TEST_F(EndingTest, DestroyingAfterATlsFailureResets) {
  run([&] {
    open();
    answer();
    break_tls();
    server_.reset();
    const Received received = receive();
    EXPECT_LT(received.bytes, kAnswerBytes);
    EXPECT_FALSE(received.end);
  });
  expect_on_the_wire(Seen::kReset);
}

// With TLS in TLS the socket's end is two levels below.
TEST_F(EndingTest, ClosingTlsInTlsLosesNothing) {
  run([&] {
    open();
    auto client = Stream::create(client_context_, StreamTransport(*std::move(client_)),
                                 {.server_name = test::kServerName});
    auto server = Stream::create(server_context_, StreamTransport(*std::move(server_)));
    client_ = *std::move(client);
    server_ = *std::move(server);
    together({[&] { client_->handshake(patience()).value(); },
              [&] { server_->handshake(patience()).value(); }});
    leave_unread();
    answer();
    expect_all_is_received_during_close();
  });
  expect_on_the_wire(Seen::kInOrder);
}

// Endless always has more: whoever drains it never has to wait.
class Endless final : public Transport {
 public:
  IoResult try_read(std::span<std::byte> into) override {
    return {IoResult::Kind::kBytes, into.size()};
  }
  IoResult try_write(std::span<const std::byte> from) override {
    return {IoResult::Kind::kBytes, from.size()};
  }
  Wake wait(Interest, Deadline) override { return Wake::kReady; }
};

TEST_F(EndingTest, PeerThatNeverStopsIsLeftAtTheDeadlineOrWhenCancelled) {
  Endless endless;
  run([&] {
    EXPECT_EQ(finish_and_drain(endless, runtime_.after(5ms)).error().code, Errc::kTimedOut);
    EXPECT_EQ(finish_and_drain(endless, Deadline::never()).error().code, Errc::kDisconnected);
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("drain", [&] { return finish_and_drain(endless, patience()); });
      ASSERT_TRUE(this_fiber::yield());
      ASSERT_FALSE(task->finished()) << "and others run meanwhile";
      task->cancel();
      EXPECT_EQ(task->join().error().code, Errc::kCancelled);
    });
  });
}

// --- heddle serve --------------------------------------------------------------------------------

// The client sends a body of which the server reads only the beginning, and all of it before it
// looks at the answer.
TEST_F(EndingTest, ServerThatRefusesABigBodyIsHeard) {
  constexpr std::size_t kBodyBytes = std::size_t{16} * 1024 * 1024;
  const std::string folder = testing::TempDir();
  const http::Site site(http::Root::create(folder).value());
  http::ServerOptions options;
  options.timeouts.close = 60s;
  run([&] {
    auto listener = Listener::create(runtime_, Address::parse("127.0.0.1:0").value()).value();
    const Address address = listener.address();
    http::Server server(std::move(listener), server_context_, site, std::move(options));
    scope([&](Scope& fibers) {
      auto served = fibers.spawn("server", [&] { return server.run(); }).value();
      auto socket = connect_slow(address);
      client_port_ = socket.local_address().value().port();
      server_port_ = address.port();
      client_ =
          Stream::create(client_context_, std::move(socket), {.server_name = test::kServerName})
              .value();
      // A chunk's size that is none: what follows cannot be understood, and is not read.
      const std::string_view head =
          "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n";
      EXPECT_TRUE(client_->write(bytes(head), patience()));
      const std::string block(64 * 1024, 'b');
      for (std::size_t sent = 0; sent < kBodyBytes; sent += block.size()) {
        const auto written = client_->write(bytes(block), patience());
        ASSERT_TRUE(written) << "after " << sent << " bytes: " << written.error().message();
      }
      const std::string answer = test::read_text(*client_, 100'000, patience());
      EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer;
      EXPECT_TRUE(client_->close(patience()));
      server.stop();
      EXPECT_TRUE(served.join());
    });
  });
  expect_on_the_wire(Seen::kInOrder);
}

}  // namespace
}  // namespace heddle
