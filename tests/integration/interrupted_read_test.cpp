// Thousands of reads that time out, on the kernel's sockets: not a byte is lost. How long anything
// takes does not matter here, only what comes.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <functional>
#include <random>
#include <string>
#include <utility>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"
#include "heddle/tls/stream.h"

#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;
using test::bytes;
using test::together;

constexpr std::size_t kBytes = 60'000;

struct Pair {
  Socket one;
  Socket other;
};

// The parameter is AF_INET or AF_UNIX.
class InterruptedReadTest : public testing::TestWithParam<int> {
 protected:
  Deadline patience() const { return runtime_.after(seconds(60)); }

  Pair make_pair() {
    if (GetParam() == AF_UNIX) {
      std::array<int, 2> fds{};
      EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
      return {Socket::adopt(runtime_, fds[0]).value(), Socket::adopt(runtime_, fds[1]).value()};
    }
    const auto on = Address::parse("127.0.0.1:0").value();
    auto listener = Listener::create(runtime_, on).value();
    auto one = connect(runtime_, listener.address(), patience()).value();
    return {std::move(one), listener.accept(patience()).value()};
  }

  std::size_t below(std::size_t n) { return prng_() % n; }

  // Passes on what comes, in pieces of a few bytes, each of which has to be allowed.
  void trickle(Socket& from, Socket& to) {
    std::array<std::byte, 40> piece{};
    for (;;) {
      const auto count = from.read(std::span(piece).first(1 + below(piece.size())), patience());
      if (!count || *count == 0) return to.shutdown_write();
      allowed_.acquire(patience()).value();
      to.write(std::span(piece).first(*count), patience()).value();
    }
  }
  void copy(Socket& from, Socket& to) {
    std::array<std::byte, 4'096> block{};
    for (;;) {
      const auto count = from.read(block, patience());
      if (!count || *count == 0) return to.shutdown_write();
      if (!to.write(std::span(block).first(*count), patience())) return;
    }
  }

  void send(Stream& stream, const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t count = std::min(1 + below(3'000), text.size() - at);
      stream.write(bytes(text).subspan(at, count), patience()).value();
      at += count;
      if (below(4) != 0) continue;
      EXPECT_EQ(SSL_key_update(stream.native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
    }
    stream.shutdown_write(patience()).value();
  }

  // A deadline that has passed, or may pass while something comes.
  std::string receive(Stream& stream) {
    std::string got;
    std::array<char, 5'000> buffer{};
    for (;;) {
      const Deadline soon = this_fiber::after(microseconds(below(3) * 50));
      const auto count = stream.read(std::as_writable_bytes(std::span(buffer)), soon);
      if (count && *count == 0) return got;
      if (count) {
        got.append(buffer.data(), *count);
        continue;
      }
      EXPECT_EQ(count.error().code, Errc::kTimedOut) << count.error().message();
      if (count.error().code != Errc::kTimedOut) return got;
      ++interruptions_;
      allowed_.release();
      // Also the answers to new keys go out meanwhile.
      EXPECT_TRUE(below(100) != 0 || stream.write(bytes("!"), patience()));
    }
  }

  Runtime runtime_ = Runtime::create().value();
  std::mt19937_64 prng_{42};
  Semaphore allowed_{1'000};  // The handshake is not held up.
  std::size_t interruptions_ = 0;
};

TEST_P(InterruptedReadTest, ThousandsOfTimeoutsLoseNothing) {
  const Context client_context = test::client_context();
  const Context server_context = test::server_context();
  std::string text(kBytes, '\0');
  std::generate(text.begin(), text.end(), [&] { return static_cast<char>(below(256)); });
  const auto talk = [&] {
    Pair near = make_pair();
    Pair far = make_pair();
    auto client = test::client(client_context, near.one);
    auto server = test::server(server_context, far.other);
    together({[&] { copy(near.other, far.one); }, [&] { trickle(far.one, near.other); },
              [&] {
                server.handshake(patience()).value();
                send(server, text);
                while (!test::read_text(server, 1, patience()).empty()) {
                }
                EXPECT_TRUE(server.close(patience()));
              },
              [&] {
                client.handshake(patience()).value();
                while (allowed_.try_acquire()) {
                }
                EXPECT_TRUE(receive(client) == text);
                for (int i = 0; i < 1'000; ++i) allowed_.release();
                EXPECT_TRUE(client.close(patience()));
              }});
  };
  ASSERT_TRUE(runtime_.spawn("test", talk));
  runtime_.run();
  EXPECT_GT(interruptions_, kBytes / 40) << "one for every piece";
  RecordProperty("interruptions", static_cast<int>(interruptions_));
}

INSTANTIATE_TEST_SUITE_P(Families, InterruptedReadTest, testing::Values(AF_INET, AF_UNIX),
                         [](const auto& each) { return each.param == AF_INET ? "Tcp" : "Unix"; });

}  // namespace
}  // namespace heddle
