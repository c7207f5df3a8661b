// Listening and connecting: what is refused, what waits, what survives a shortage.
#include "heddle/listener.h"

#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"

#include "base/unique_fd.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::filesystem::path;

// Long enough that only a bug reaches it.
constexpr Duration kPatience = seconds(60);

const Address kAnyPort = Address::parse("127.0.0.1:0").value();

class ListenerTest : public testing::Test {
 protected:
  ListenerTest() {
    std::string name = testing::TempDir() + "heddle-listener-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~ListenerTest() override { std::filesystem::remove_all(folder_); }

  // Runs `body` in a fiber.
  void run(std::function<void()> body) {
    ASSERT_TRUE(runtime_.spawn("test", std::move(body)));
    runtime_.run();
  }

  Deadline patience() const { return runtime_.after(kPatience); }

  Listener listen(const Address& on = kAnyPort, ListenOptions options = {}) {
    auto listener = Listener::create(runtime_, on, options);
    EXPECT_TRUE(listener) << listener.error().message();
    return *std::move(listener);
  }

  Error refusal(const Address& on) {
    auto listener = Listener::create(runtime_, on);
    EXPECT_FALSE(listener) << on.to_string();
    return listener ? Error{} : listener.error();
  }

  path socket_path() const { return folder_ / "socket"; }
  Address unix_address() const { return Address::from_unix_path(socket_path().string()).value(); }

  path folder_;
  Runtime runtime_ = Runtime::create().value();
};

// A bound socket on which nobody listens, so that its port is nobody else's either.
class Deaf {
 public:
  explicit Deaf(const Address& on) : fd_(::socket(on.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    EXPECT_EQ(::bind(fd_.get(), on.data(), on.size()), 0);
  }

  Address address() const {
    sockaddr_storage storage{};
    socklen_t size = sizeof(storage);
    EXPECT_EQ(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&storage), &size), 0);
    return Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), size);
  }

 private:
  UniqueFd fd_;
};

TEST_F(ListenerTest, ConnectionWhereNobodyListensIsRefused) {
  run([this] {
    const Deaf deaf(kAnyPort);
    auto refused = connect(runtime_, deaf.address(), patience());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kUnreachable) << refused.error().message();
    EXPECT_EQ(refused.error().sys_errno, ECONNREFUSED);
    auto by_name = connect(runtime_, "127.0.0.1", deaf.address().port(), patience());
    EXPECT_EQ(by_name.error().sys_errno, ECONNREFUSED);
    auto missing = connect(runtime_, unix_address(), patience());
    EXPECT_EQ(missing.error().code, Errc::kUnreachable);
    EXPECT_EQ(missing.error().sys_errno, ENOENT);
    const Deaf deaf_path(unix_address());
    EXPECT_EQ(connect(runtime_, unix_address(), patience()).error().sys_errno, ECONNREFUSED);
  });
}

TEST_F(ListenerTest, ErrorNamesTheAddress) {
  run([this] {
    const Deaf deaf(kAnyPort);
    const Address there = deaf.address();
    const std::string text = there.to_string();
    const Error refused = connect(runtime_, there, patience()).error();
    EXPECT_EQ(refused.message(), text + ": connect: unreachable: Connection refused");
    EXPECT_EQ(connect(runtime_, "127.0.0.1", there.port(), patience()).error().context(), text);
    EXPECT_EQ(connect(runtime_, "two words", 443, patience()).error().context(), "two words:443");
    EXPECT_EQ(resolve(runtime_, "two words", 443, patience()).error().context(), "two words");
    EXPECT_EQ(connect(runtime_, unix_address(), patience()).error().context(),
              unix_address().to_string());
    EXPECT_EQ(refusal(there).message(), text + ": bind: not usable: Address already in use");
    auto listener = listen();
    listener.close();
    const Error closed = listener.accept(patience()).error();
    EXPECT_EQ(closed.context(), listener.address().to_string());
    EXPECT_STREQ(closed.detail, "the listener is closed");
  });
}

// Fills a backlog, so that the next connection can only wait.
std::vector<Socket> fill_backlog(Runtime& runtime, const Listener& listener) {
  std::vector<Socket> waiting;
  for (;;) {
    auto next = connect(runtime, listener.address(), runtime.after(milliseconds(20)));
    if (!next) {
      EXPECT_EQ(next.error().code, Errc::kTimedOut) << next.error().message();
      return waiting;
    }
    waiting.push_back(*std::move(next));
  }
}

TEST_F(ListenerTest, ConnectToAFullBacklogFailsAtTheDeadlineAndWhenCancelled) {
  run([this] {
    for (const Address& on : {kAnyPort, unix_address()}) {
      auto listener = listen(on, {.backlog = 1});
      const auto waiting = fill_backlog(runtime_, listener);
      EXPECT_FALSE(waiting.empty());
      scope([&](Scope& fibers) {
        auto task = fibers.spawn("connect",
                                 [&] { return connect(runtime_, listener.address(), patience()); });
        ASSERT_TRUE(task);
        ASSERT_TRUE(this_fiber::yield());
        task->cancel();
        EXPECT_EQ(task->join().error().code, Errc::kCancelled);
      });
    }
  });
}

TEST_F(ListenerTest, ConnectToAFullUnixBacklogGoesOnWhenThereIsRoom) {
  run([this] {
    auto listener = listen(unix_address(), {.backlog = 1});
    const auto waiting = fill_backlog(runtime_, listener);
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("connect",
                               [&] { return connect(runtime_, listener.address(), patience()); });
      ASSERT_TRUE(task);
      ASSERT_TRUE(this_fiber::yield());
      EXPECT_FALSE(task->finished());
      std::vector<Socket> accepted;
      for (std::size_t i = 0; i < waiting.size() + 1; ++i) {
        accepted.push_back(listener.accept(patience()).value());
      }
      const auto connected = task->join();
      EXPECT_TRUE(connected) << connected.error().message();
    });
  });
}

TEST_F(ListenerTest, AddressThatIsTakenOrNotOursIsInvalid) {
  auto listener = listen();
  EXPECT_NE(listener.address().port(), 0);
  const Error taken = refusal(listener.address());
  EXPECT_EQ(taken.code, Errc::kInvalid) << taken.message();
  EXPECT_EQ(taken.sys_errno, EADDRINUSE);
  const Error foreign = refusal(Address::parse("192.0.2.1:0").value());
  EXPECT_EQ(foreign.code, Errc::kInvalid) << foreign.message();
  EXPECT_EQ(foreign.sys_errno, EADDRNOTAVAIL);
  const Error nowhere = refusal(Address::from_unix_path((folder_ / "no/such").string()).value());
  EXPECT_EQ(nowhere.code, Errc::kInvalid) << nowhere.message();
  EXPECT_EQ(nowhere.sys_errno, ENOENT);
}

TEST_F(ListenerTest, PortMayBeSharedIfBothAskForIt) {
  auto one = listen(kAnyPort, {.reuse_port = true});
  auto other = listen(one.address(), {.reuse_port = true});
  EXPECT_EQ(other.address(), one.address());
  EXPECT_EQ(refusal(one.address()).sys_errno, EADDRINUSE);
}

TEST_F(ListenerTest, PortIsFreeAgainThoughAConnectionWasMadeOnIt) {
  run([this] {
    auto listener = listen();
    const Address address = listener.address();
    auto client = connect(runtime_, address, patience());
    // Ends first: its side keeps the port in TIME_WAIT.
    (void)listener.accept(patience()).value();
    std::array<std::byte, 1> buffer;
    EXPECT_EQ(client->read(buffer, patience()).value(), 0U);
    client = Error{};
    { const Listener destroyed = std::move(listener); }
    EXPECT_EQ(listen(address).address(), address);
  });
}

TEST_F(ListenerTest, UnixPathThatWasAbandonedIsReplaced) {
  { const Deaf dead(unix_address()); }
  ASSERT_TRUE(std::filesystem::exists(socket_path()));
  run([this] {
    auto listener = listen(unix_address());
    auto client = connect(runtime_, unix_address(), patience());
    EXPECT_TRUE(client) << client.error().message();
  });
}

TEST_F(ListenerTest, UnixPathInUseIsNotReplaced) {
  run([this] {
    auto listener = listen(unix_address());
    EXPECT_EQ(refusal(unix_address()).sys_errno, EADDRINUSE);
    auto client = connect(runtime_, unix_address(), patience());
    EXPECT_TRUE(client) << client.error().message();
  });
}

TEST_F(ListenerTest, UnixPathWhoseBacklogIsFullIsNotReplaced) {
  run([this] {
    auto listener = listen(unix_address(), {.backlog = 1});
    const auto waiting = fill_backlog(runtime_, listener);
    EXPECT_EQ(refusal(unix_address()).sys_errno, EADDRINUSE);
  });
}

TEST_F(ListenerTest, FileThatIsNoSocketIsNotReplaced) {
  std::ofstream(socket_path()) << "precious";
  EXPECT_EQ(refusal(unix_address()).sys_errno, EADDRINUSE);
  EXPECT_EQ(std::filesystem::file_size(socket_path()), 8U);
}

TEST_F(ListenerTest, UnixPathIsRemovedAtDestruction) {
  {
    auto listener = listen(unix_address());
    EXPECT_TRUE(std::filesystem::exists(socket_path()));
  }
  EXPECT_FALSE(std::filesystem::exists(socket_path()));
}

TEST_F(ListenerTest, PathThatAnotherHasTakenSinceIsLeftToIt) {
  auto first = listen(unix_address());
  std::filesystem::remove(socket_path());
  auto second = listen(unix_address());
  { const Listener destroyed = std::move(first); }
  EXPECT_TRUE(std::filesystem::exists(socket_path()));
}

// Whether somebody waits for the lock of `file`, as the kernel tells.
bool is_waited_for(const path& file) {
  struct stat status {};
  EXPECT_EQ(::stat(file.c_str(), &status), 0);
  const std::string inode = ":" + std::to_string(status.st_ino) + " ";
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    if (line.find("-> FLOCK") != std::string::npos && line.find(inode) != std::string::npos) {
      return true;
    }
  }
  return false;
}

// It has bound the path, but does not listen yet: it looks like one that is dead.
TEST_F(ListenerTest, PathOfAServerThatIsJustStartingIsLeftToIt) {
  const UniqueFd folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(folder.get(), LOCK_EX), 0);
  const UniqueFd starting(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Address address = unix_address();
  ASSERT_EQ(::bind(starting.get(), address.data(), address.size()), 0);
  std::atomic<bool> refused = false;
  std::thread other([&] {
    auto runtime = Runtime::create().value();
    auto listener = Listener::create(runtime, address);
    refused = !listener && listener.error().sys_errno == EADDRINUSE;
  });
  if (std::filesystem::exists("/proc/locks")) {
    for (int i = 0; i < 1'000'000 && !is_waited_for(folder_) && !refused; ++i) ::sched_yield();
  }
  EXPECT_EQ(::listen(starting.get(), 1), 0);
  ASSERT_EQ(::flock(folder.get(), LOCK_UN), 0);
  other.join();
  EXPECT_TRUE(refused);
  EXPECT_TRUE(std::filesystem::exists(socket_path()));
}

TEST_F(ListenerTest, AcceptFailsAtTheDeadlineAndWhenCancelledAndGoesOn) {
  run([this] {
    auto listener = listen();
    EXPECT_EQ(listener.accept(runtime_.after(milliseconds(1))).error().code, Errc::kTimedOut);
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("accept", [&] { return listener.accept(patience()); });
      ASSERT_TRUE(task);
      ASSERT_TRUE(this_fiber::yield());
      task->cancel();
      EXPECT_EQ(task->join().error().code, Errc::kCancelled);
    });
    auto client = connect(runtime_, listener.address(), patience()).value();
    auto accepted = listener.accept(patience());
    EXPECT_TRUE(accepted) << accepted.error().message();
  });
}

TEST_F(ListenerTest, AcceptingManyInARowLetsOthersRun) {
  run([this] {
    auto listener = listen();
    std::vector<Socket> clients;
    for (int i = 0; i < 100; ++i) {
      clients.push_back(connect(runtime_, listener.address(), patience()).value());
    }
    int turns = 0;
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("other", [&] {
        while (this_fiber::yield()) ++turns;
      }));
      std::vector<Socket> accepted;
      accepted.push_back(listener.accept(patience()).value());
      turns = 0;
      for (int i = 1; i < 100; ++i) accepted.push_back(listener.accept(patience()).value());
      EXPECT_GE(turns, 2);
      fibers.cancel();
    });
  });
}

TEST_F(ListenerTest, CancelledFiberDoesNotAcceptForEver) {
  run([this] {
    auto listener = listen();
    std::vector<Socket> clients;
    for (int i = 0; i < 100; ++i) {
      clients.push_back(connect(runtime_, listener.address(), patience()).value());
    }
    scope([&](Scope& fibers) {
      fibers.cancel();
      ASSERT_TRUE(fibers.spawn("accept", [&] {
        int accepted = 0;
        while (listener.accept(patience())) ++accepted;
        EXPECT_LT(accepted, 100);
      }));
    });
  });
}

TEST_F(ListenerTest, ConnectionThatDiedInTheBacklogDoesNotEndTheListener) {
  run([this] {
    auto listener = listen();
    auto dead = connect(runtime_, listener.address(), patience());
    const linger reset{.l_onoff = 1, .l_linger = 0};
    ASSERT_EQ(::setsockopt(dead->native_handle(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    dead = Error{};
    auto alive = connect(runtime_, listener.address(), patience()).value();
    // Linux hands out the dead one too; whatever it does, the living one comes.
    bool found = false;
    for (int i = 0; i < 2 && !found; ++i) {
      auto accepted = listener.accept(patience());
      ASSERT_TRUE(accepted) << accepted.error().message();
      const auto peer = accepted->peer_address();
      found = peer && *peer == alive.local_address().value();
    }
    EXPECT_TRUE(found);
  });
}

// The undefined behaviour sanitizer makes a pipe to find out whether memory is readable, and
// takes good objects for bad ones when it gets none.
constexpr bool kNeedsDescriptors =
#if defined(__has_feature)
#if __has_feature(undefined_behavior_sanitizer)
    true;
#else
    false;
#endif
#else
    false;
#endif

class ShortageTest : public ListenerTest {
 protected:
  void SetUp() override {
    if (kNeedsDescriptors) GTEST_SKIP() << "the sanitizer needs descriptors of its own";
  }
};

// Takes every descriptor that the process may still have.
class Shortage {
 public:
  Shortage() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const int highest = UniqueFd(::dup(STDERR_FILENO)).get();
    const rlimit few{.rlim_cur = static_cast<rlim_t>(highest) + 20, .rlim_max = before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    for (;;) {
      UniqueFd next(::dup(STDERR_FILENO));
      if (!next) break;
      taken_.push_back(std::move(next));
    }
    EXPECT_EQ(errno, EMFILE);
  }
  Shortage(const Shortage&) = delete;
  Shortage& operator=(const Shortage&) = delete;
  ~Shortage() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }

  void give_back(std::size_t count) { taken_.resize(taken_.size() - count); }

 private:
  rlimit before_{};
  std::vector<UniqueFd> taken_;
};

TEST_F(ShortageTest, AcceptSurvivesAShortageOfDescriptorsWithoutSpinning) {
  run([this] {
    auto listener = listen();
    auto client = connect(runtime_, listener.address(), patience()).value();
    Shortage shortage;
    const std::uint64_t polls_before = runtime_.stats().polls;
    for (int i = 0; i < 4; ++i) {
      auto failed = listener.accept(patience());
      ASSERT_FALSE(failed);
      EXPECT_EQ(failed.error().code, Errc::kExhausted) << failed.error().message();
      EXPECT_EQ(failed.error().sys_errno, EMFILE);
    }
    const std::uint64_t polls = runtime_.stats().polls - polls_before;
    EXPECT_GE(polls, 4U);   // It has waited each time,
    EXPECT_LE(polls, 20U);  // and did nothing else.
    shortage.give_back(1);
    auto accepted = listener.accept(patience());
    ASSERT_TRUE(accepted) << accepted.error().message();
    EXPECT_EQ(accepted->peer_address().value(), client.local_address().value());
  });
}

TEST_F(ShortageTest, ShortageDoesNotOutlastACancellation) {
  run([this] {
    auto listener = listen();
    auto client = connect(runtime_, listener.address(), patience()).value();
    const Shortage shortage;
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("accept", [&] {
        for (;;) {
          auto failed = listener.accept(patience());
          if (failed.error().code != Errc::kExhausted) return failed.error().code;
          EXPECT_FALSE(this_fiber::cancelled());
        }
      });
      ASSERT_TRUE(task);
      ASSERT_TRUE(this_fiber::sleep_until(this_fiber::after(milliseconds(1))));
      task->cancel();
      EXPECT_EQ(task->join().value(), Errc::kCancelled);
    });
  });
}

TEST_F(ShortageTest, WithoutDescriptorsEverythingElseIsExhaustedToo) {
  run([this] {
    auto listener = listen();
    const Shortage shortage;
    auto connected = connect(runtime_, listener.address(), patience());
    EXPECT_EQ(connected.error().code, Errc::kExhausted) << connected.error().message();
    EXPECT_EQ(connected.error().sys_errno, EMFILE);
    const Error refused = refusal(kAnyPort);
    EXPECT_EQ(refused.code, Errc::kExhausted) << refused.message();
    auto runtime = Runtime::create();
    ASSERT_FALSE(runtime);
    EXPECT_EQ(runtime.error().code, Errc::kExhausted) << runtime.error().message();
    EXPECT_EQ(runtime.error().sys_errno, EMFILE);
  });
}

}  // namespace
}  // namespace heddle
