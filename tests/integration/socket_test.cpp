// Sockets on the kernel: TCP over both families and Unix.
#include "heddle/socket.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"

#include "base/unique_fd.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Long enough that only a bug reaches it.
constexpr Duration kPatience = seconds(60);

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

struct Pair {
  Socket client;
  Socket server;
};

class SocketTest : public testing::Test {
 protected:
  SocketTest() {
    std::string name = testing::TempDir() + "heddle-socket-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~SocketTest() override { std::filesystem::remove_all(folder_); }

  // Runs `body` in a fiber.
  void run(std::function<void()> body) {
    ASSERT_TRUE(runtime_.spawn("test", std::move(body)));
    runtime_.run();
  }

  Deadline patience() const { return runtime_.after(kPatience); }

  Listener listen(const std::string& on = "127.0.0.1:0") {
    auto listener = Listener::create(runtime_, Address::parse(on).value());
    EXPECT_TRUE(listener) << listener.error().message();
    return *std::move(listener);
  }

  // A connection over `on`.
  Pair pair(const std::string& on = "127.0.0.1:0") {
    auto listener = listen(on);
    // The kernel completes it in the backlog.
    auto client = connect(runtime_, listener.address(), patience()).value();
    return {std::move(client), listener.accept(patience()).value()};
  }

  std::string read(Socket& socket, std::size_t count) {
    std::string text(count, '\0');
    const auto got = socket.read(std::as_writable_bytes(std::span(text)), patience());
    EXPECT_TRUE(got) << got.error().message();
    text.resize(got ? *got : 0);
    return text;
  }

  // Reads until the end, or fails with what ended it.
  Result<std::size_t> drain(Socket& socket) {
    std::array<std::byte, 65536> buffer;
    std::size_t total = 0;
    for (;;) {
      const auto got = socket.read(buffer, patience());
      if (!got) return got.error();
      if (*got == 0) return total;
      total += *got;
    }
  }

  // Writes until the kernel takes no more.
  static std::size_t fill(Socket& socket) {
    const std::vector<std::byte> block(65536, std::byte{'x'});
    std::size_t total = 0;
    for (;;) {
      const IoResult io = socket.try_write(block);
      if (io.kind != IoResult::Kind::kBytes) {
        EXPECT_EQ(io.kind, IoResult::Kind::kWouldBlock);
        return total;
      }
      total += io.bytes;
    }
  }

  std::filesystem::path folder_;
  Runtime runtime_ = Runtime::create().value();
};

// The parameter is where to listen; "unix:" in the test's folder.
class EachSocketTest : public SocketTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    where_ = GetParam();
    if (where_ == "unix:") where_ += (folder_ / "socket").string();
    auto probe = Listener::create(runtime_, Address::parse(where_).value());
    if (!probe) GTEST_SKIP() << probe.error().message();
  }

  std::string where_;
};

TEST_P(EachSocketTest, BytesArriveInOrderBothWays) {
  run([this] {
    Pair ends = pair(where_);
    std::string sent(3'000'000, '\0');
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 / 5);
    std::string echoed;
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("echo", [&] {
        for (std::string part = read(ends.server, 30'000); !part.empty();
             part = read(ends.server, 30'000)) {
          ASSERT_TRUE(ends.server.write(bytes(part), patience()));
        }
        ends.server.shutdown_write();
      }));
      ASSERT_TRUE(fibers.spawn("writer", [&] {
        ASSERT_TRUE(ends.client.write(bytes(sent), patience()));
        ends.client.shutdown_write();
      }));
      for (std::string part = read(ends.client, 10'000); !part.empty();
           part = read(ends.client, 10'000)) {
        echoed += part;
      }
    });
    EXPECT_EQ(echoed.size(), sent.size());
    EXPECT_TRUE(echoed == sent);
  });
}

TEST_P(EachSocketTest, ReaderAndWriterWaitAtOnceAndEachIsWokenForItsOwn) {
  run([this] {
    Pair ends = pair(where_);
    (void)fill(ends.client);
    scope([&](Scope& fibers) {
      auto reader = fibers.spawn("reader", [&] { return read(ends.client, 100); });
      auto writer = fibers.spawn("writer", [&] {
        const auto written = ends.client.write(bytes("end"), patience());
        ends.client.shutdown_write();
        return written;
      });
      ASSERT_TRUE(reader && writer);
      ASSERT_TRUE(this_fiber::yield());
      ASSERT_TRUE(ends.server.write(bytes("for the reader"), patience()));
      EXPECT_EQ(reader->join().value(), "for the reader");
      EXPECT_FALSE(writer->finished());
      EXPECT_TRUE(drain(ends.server));
      EXPECT_TRUE(writer->join());
    });
  });
}

TEST_P(EachSocketTest, HalfCloseEndsOneDirection) {
  run([this] {
    Pair ends = pair(where_);
    ASSERT_TRUE(ends.client.write(bytes("question"), patience()));
    ends.client.shutdown_write();
    EXPECT_EQ(drain(ends.server).value(), 8U);
    EXPECT_EQ(drain(ends.server).value(), 0U);  // And stays at its end.
    ASSERT_TRUE(ends.server.write(bytes("answer"), patience()));
    EXPECT_EQ(read(ends.client, 100), "answer");
    const auto refused = ends.client.write(bytes("more"), patience());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kDisconnected);
    EXPECT_EQ(refused.error().sys_errno, EPIPE);
  });
}

// Data and end come as one event; a read that empties the socket must not wait for another.
TEST_P(EachSocketTest, EndThatCameWithTheDataIsNotMissed) {
  run([this] {
    Pair ends = pair(where_);
    ASSERT_TRUE(ends.client.write(bytes("last words"), patience()));
    { const Socket destroyed = std::move(ends.client); }
    EXPECT_EQ(read(ends.server, 100), "last words");
    EXPECT_EQ(read(ends.server, 100), "");
  });
}

TEST_P(EachSocketTest, AddressesOfTheTwoEndsMatch) {
  run([this] {
    auto listener = listen(where_);
    auto client = connect(runtime_, listener.address(), patience()).value();
    auto server = listener.accept(patience()).value();
    EXPECT_EQ(client.peer_address().value(), listener.address());
    EXPECT_EQ(server.local_address().value(), listener.address());
    EXPECT_EQ(client.local_address().value(), server.peer_address().value());
  });
}

TEST_P(EachSocketTest, InterruptedReadLosesNothing) {
  run([this] {
    Pair ends = pair(where_);
    std::array<std::byte, 10> buffer;
    const auto late = ends.client.read(buffer, runtime_.after(milliseconds(1)));
    EXPECT_EQ(late.error().code, Errc::kTimedOut);
    scope([&](Scope& fibers) {
      auto reader = fibers.spawn(
          "reader", [&]() -> Result<std::size_t> { return ends.client.read(buffer, patience()); });
      ASSERT_TRUE(reader);
      ASSERT_TRUE(this_fiber::yield());
      reader->cancel();
      EXPECT_EQ(reader->join().error().code, Errc::kCancelled);
    });
    ASSERT_TRUE(ends.server.write(bytes("here"), patience()));
    EXPECT_EQ(read(ends.client, 100), "here");
    EXPECT_EQ(ends.client.read({}, patience()).value(), 0U);
  });
}

TEST_P(EachSocketTest, WriteToAFullSocketFailsAtTheDeadlineAndWhenCancelled) {
  run([this] {
    Pair ends = pair(where_);
    (void)fill(ends.client);
    const auto late = ends.client.write(bytes("x"), runtime_.after(milliseconds(1)));
    EXPECT_EQ(late.error().code, Errc::kTimedOut);
    scope([&](Scope& fibers) {
      auto writer = fibers.spawn(
          "writer", [&]() -> Result<void> { return ends.client.write(bytes("x"), patience()); });
      ASSERT_TRUE(writer);
      ASSERT_TRUE(this_fiber::yield());
      writer->cancel();
      EXPECT_EQ(writer->join().error().code, Errc::kCancelled);
    });
  });
}

// The closing side never reads what the peer has sent.
TEST_P(EachSocketTest, CloseLosesNothingThatIsInFlight) {
  run([this] {
    Pair ends = pair(where_);
    ASSERT_TRUE(ends.client.write(bytes("nobody reads this"), patience()));
    const std::size_t written = fill(ends.server);
    scope([&](Scope& fibers) {
      auto closer = fibers.spawn("closer", [&] { return ends.server.close(patience()); });
      ASSERT_TRUE(closer);
      ASSERT_TRUE(this_fiber::yield());
      const auto arrived = drain(ends.client);
      ASSERT_TRUE(arrived) << arrived.error().message();
      EXPECT_EQ(*arrived, written);
      ends.client.shutdown_write();
      const auto closed = closer->join();
      EXPECT_TRUE(closed) << closed.error().message();
    });
  });
}

TEST_P(EachSocketTest, CloseGivesUpOnAPeerThatDoesNotEnd) {
  run([this] {
    Pair ends = pair(where_);
    EXPECT_EQ(ends.server.close(runtime_.after(milliseconds(1))).error().code, Errc::kTimedOut);
    EXPECT_EQ(read(ends.client, 100), "");  // It has been told.
    scope([&](Scope& fibers) {
      auto closer = fibers.spawn("closer", [&] { return ends.server.close(patience()); });
      ASSERT_TRUE(closer);
      ASSERT_TRUE(this_fiber::yield());
      closer->cancel();
      EXPECT_EQ(closer->join().error().code, Errc::kCancelled);
    });
  });
}

TEST_P(EachSocketTest, CloseGivesUpOnAPeerThatSendsForEver) {
  run([this] {
    Pair ends = pair(where_);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("chatterbox", [&] {
        const std::string chatter(65536, 'x');
        while (ends.client.write(bytes(chatter), patience())) {
        }
      }));
      EXPECT_EQ(ends.server.close(Deadline::never()).error().code, Errc::kDisconnected);
      fibers.cancel();
    });
  });
}

std::string kind_name(const testing::TestParamInfo<const char*>& kind) {
  constexpr std::array<const char*, 3> kNames = {"TcpV4", "TcpV6", "Unix"};
  return kNames.at(kind.index);
}

INSTANTIATE_TEST_SUITE_P(Kinds, EachSocketTest, testing::Values("127.0.0.1:0", "[::1]:0", "unix:"),
                         kind_name);

// Why close() exists.
TEST_F(SocketTest, DestructionWithUnreadDataLosesWhatIsInFlight) {
  run([this] {
    Pair ends = pair();
    ASSERT_TRUE(ends.client.write(bytes("nobody reads this"), patience()));
    (void)fill(ends.server);
    { const Socket destroyed = std::move(ends.server); }
    const auto arrived = drain(ends.client);
    ASSERT_FALSE(arrived);
    EXPECT_EQ(arrived.error().code, Errc::kDisconnected);
    EXPECT_EQ(arrived.error().sys_errno, ECONNRESET);
  });
}

TEST_F(SocketTest, ResetWakesAReaderAndAWriter) {
  run([this] {
    Pair ends = pair();
    (void)fill(ends.client);
    scope([&](Scope& fibers) {
      auto reader = fibers.spawn("reader", [&] { return drain(ends.client); });
      auto writer =
          fibers.spawn("writer", [&] { return ends.client.write(bytes("x"), patience()); });
      ASSERT_TRUE(reader && writer);
      ASSERT_TRUE(this_fiber::yield());
      // What it has not read makes this a reset.
      { const Socket destroyed = std::move(ends.server); }
      EXPECT_EQ(reader->join().error().code, Errc::kDisconnected);
      EXPECT_EQ(writer->join().error().code, Errc::kDisconnected);
    });
  });
}

TEST_F(SocketTest, FiberWhosePeerNeverLetsItWaitLetsOthersRun) {
  run([this] {
    Pair ends = pair();
    ASSERT_TRUE(ends.client.write(bytes(std::string(2000, 'x')), patience()));
    bool other_ran = false;
    scope([&](Scope& fibers) {
      (void)read(ends.server, 1);
      ASSERT_TRUE(fibers.spawn("other", [&] { other_ran = true; }));
      for (int i = 0; i < 1000; ++i) EXPECT_EQ(read(ends.server, 1), "x");
      EXPECT_TRUE(other_ran);
    });
  });
}

TEST_F(SocketTest, NagleIsOff) {
  run([this] {
    Pair ends = pair();
    for (const Socket* const end : {&ends.client, &ends.server}) {
      int on = 0;
      socklen_t size = sizeof(on);
      ASSERT_EQ(::getsockopt(end->native_handle(), IPPROTO_TCP, /*TCP_NODELAY=*/1, &on, &size), 0);
      EXPECT_NE(on, 0);
    }
  });
}

TEST_F(SocketTest, AdoptedSocketBecomesNonBlocking) {
  run([this] {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
    const UniqueFd other(ends[1]);
    auto socket = Socket::adopt(runtime_, ends[0]);
    ASSERT_TRUE(socket) << socket.error().message();
    EXPECT_NE(::fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
    ASSERT_EQ(::write(other.get(), "hello", 5), 5);
    EXPECT_EQ(read(*socket, 100), "hello");
  });
}

TEST_F(SocketTest, DescriptorThatCannotBeWatchedIsRefusedAndHarmsNoOther) {
  run([this] {
    EXPECT_EQ(Socket::adopt(runtime_, -1).error().code, Errc::kInvalid);
    const int no_socket = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    const int regular = ::open((folder_ / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(regular, 0);
    for (const int descriptor : {regular, no_socket}) {
      auto refused = Socket::adopt(runtime_, descriptor);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, Errc::kInvalid) << refused.error().message();
      EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1) << "left open";
    }
    // Both must hear of what arrives for them.
    Pair one = pair();
    Pair other = pair();
    for (Pair* const each : {&one, &other}) {
      ASSERT_TRUE(each->client.write(bytes("question"), patience()));
      EXPECT_EQ(read(each->server, 100), "question");
      ASSERT_TRUE(each->server.write(bytes("answer"), patience()));
      EXPECT_EQ(read(each->client, 100), "answer");
    }
  });
}

// As when a forked process has the descriptor still.
TEST_F(SocketTest, EventForASocketThatIsGoneWakesNobodyElse) {
  run([this] {
    Pair ends = pair();
    const UniqueFd survivor(::dup(ends.client.native_handle()));
    { const Socket destroyed = std::move(ends.client); }
    std::array<int, 2> raw{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, raw.data()), 0);
    const UniqueFd silent(raw[1]);
    auto next = Socket::adopt(runtime_, raw[0]).value();  // Has the place of the first.
    ASSERT_TRUE(ends.server.write(bytes("for the dead"), patience()));
    EXPECT_EQ(next.wait(Interest::kRead, runtime_.after(milliseconds(1))), Wake::kTimedOut);
  });
}

}  // namespace
}  // namespace heddle
