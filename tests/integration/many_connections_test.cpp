// Very many connections on one thread of a real server, well-behaved and mute.
#include <array>
#include <optional>
#include <thread>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"
#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"

#include "fiber/sanitizer.h"
#include "support/server_process.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

#ifdef HEDDLE_HAS_ASAN
constexpr bool kQuarantine = true;  // AddressSanitizer keeps what is freed.
#else
constexpr bool kQuarantine = false;
#endif

constexpr std::string_view kRequest = "GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n";

class ManyConnections : public testing::Test {
 protected:
  void SetUp() override {
    const std::size_t limit = test::raise_descriptor_limit();
    if (limit < 10'500) {
      GTEST_SKIP() << "needs 10,500 descriptors, and `ulimit -Hn` is " << limit;
    }
  }

  static Context trusting(const test::ServerProcess& server) {
    Context context = Context::create(Role::kClient, Trust::kNothing).value();
    context.add_trusted_certificates(test::bytes(server.certificate_pem())).value();
    return context;
  }

  // One request and its answer on a connection that stays open.
  static bool request(Stream& stream) {
    const Deadline deadline = this_fiber::after(minutes(2));
    if (!stream.write(test::bytes(kRequest), deadline)) return false;
    std::array<char, 1024> answer{};
    std::string_view got;
    while (!got.ends_with("Hello, world\n")) {
      const auto count =
          stream.read(std::as_writable_bytes(std::span(answer).subspan(got.size())), deadline);
      if (!count || *count == 0) return false;
      got = {answer.data(), got.size() + *count};
    }
    return got.starts_with("HTTP/1.1 200 ");
  }

  std::optional<Stream> connect_to(const test::ServerProcess& server, const Context& context) {
    const Deadline deadline = this_fiber::after(minutes(2));
    auto socket = connect(runtime_, server.address(), deadline);
    if (!socket) return std::nullopt;
    auto stream = Stream::create(context, *std::move(socket), {.server_name = "localhost"});
    if (!stream || !stream->handshake(deadline)) return std::nullopt;
    return *std::move(stream);
  }

  // Parks until `condition` holds. Only a failing test waits until the end.
  template <typename Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 6'000; ++i) {
      if (condition()) return true;
      (void)this_fiber::sleep_until(this_fiber::after(milliseconds(10)));
    }
    return false;
  }

  // Runs blocking `work` on a thread of its own while the calling fiber waits.
  template <typename Work>
  auto on_a_thread(Work work) {
    std::invoke_result_t<Work> result{};
    Semaphore done(0);
    std::thread thread([&] {
      result = work();
      runtime_.post([&] { done.release(); });
    });
    done.acquire().value();
    thread.join();
    return result;
  }

  template <typename Body>
  void run(Body body) {
    ASSERT_TRUE(runtime_.spawn("test", body));
    runtime_.run();
  }

  Runtime runtime_ = Runtime::create().value();
};

TEST_F(ManyConnections, NineThousandAreHeldByOneThreadWhileOthersAreServed) {
  constexpr std::size_t kHeld = 9'000;
  const test::ServerProcess server({"--idle-timeout", "600"});
  const Context context = trusting(server);
  run([&] {
    const std::size_t descriptors_before = server.descriptors();
    std::size_t held = 0;
    std::size_t answered_at_the_end = 0;
    Semaphore handshakes(64);
    Semaphore release(0);
    scope([&](Scope& fibers) {
      for (std::size_t i = 0; i < kHeld; ++i) {
        ASSERT_TRUE(fibers.spawn("held", [&] {
          handshakes.acquire().value();
          auto stream = connect_to(server, context);
          const bool open = stream && request(*stream);
          handshakes.release();
          if (!open) return;
          ++held;
          release.acquire().value();
          if (request(*stream)) ++answered_at_the_end;
          (void)stream->close(this_fiber::after(seconds(60)));
        }));
      }
      EXPECT_TRUE(eventually([&] { return held == kHeld; })) << held << " are held";
      EXPECT_GE(server.descriptors(), descriptors_before + kHeld);

      const auto wrk = on_a_thread([&] {
        return test::run_program(
            {"wrk", "-t1", "-c64", "-d3s", "https://" + server.address().to_string() + "/small"});
      });
      EXPECT_EQ(wrk.status, 0);
      EXPECT_NE(wrk.output.find(" requests in "), std::string::npos) << wrk.output;
      EXPECT_EQ(wrk.output.find("errors"), std::string::npos) << wrk.output;
      EXPECT_EQ(wrk.output.find("Non-2xx"), std::string::npos) << wrk.output;
      for (std::size_t i = 0; i < kHeld; ++i) release.release();
    });
    EXPECT_EQ(answered_at_the_end, kHeld);
    EXPECT_TRUE(eventually([&] { return server.descriptors() <= descriptors_before; }));
  });
}

TEST_F(ManyConnections, TenThousandThatNeverSpeakEndAtTheHandshakeDeadline) {
  constexpr std::size_t kMute = 10'000;
  const test::ServerProcess server({"--handshake-timeout", "3", "--idle-timeout", "600"});
  const Context context = trusting(server);
  run([&] {
    auto healthy = connect_to(server, context);
    ASSERT_TRUE(healthy && request(*healthy));
    const std::size_t descriptors_before = server.descriptors();
    // What stays is what pools keep for the next connections, once for all.
    const std::size_t resident_max = server.resident_kib() + std::size_t{24} * 1024;
    for (int round = 0; round < 2; ++round) {
      std::size_t ended = 0;
      scope([&](Scope& fibers) {
        for (std::size_t i = 0; i < kMute; ++i) {
          ASSERT_TRUE(fibers.spawn("mute", [&] {
            const Deadline deadline = this_fiber::after(minutes(2));
            auto socket = connect(runtime_, server.address(), deadline);
            ASSERT_TRUE(socket) << socket.error().message();
            std::array<std::byte, 16> end{};
            const auto got = socket->read(end, deadline);
            if (got || got.error().code == Errc::kDisconnected) ++ended;
          }));
          if (i % 1'000 == 0) {
            EXPECT_TRUE(request(*healthy));
          }
        }
        EXPECT_TRUE(eventually([&] { return server.descriptors() > descriptors_before; }));
        EXPECT_TRUE(request(*healthy)) << "while they are mute";
      });
      EXPECT_EQ(ended, kMute);
      EXPECT_TRUE(eventually([&] { return server.descriptors() <= descriptors_before; }));
      EXPECT_TRUE(kQuarantine || eventually([&] { return server.resident_kib() < resident_max; }))
          << server.resident_kib() << " KiB, allowed are " << resident_max;
      EXPECT_TRUE(request(*healthy));
    }
  });
}

}  // namespace
}  // namespace heddle
