// Signals as events.
#include "heddle/signals.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Long enough that only a bug reaches it.
constexpr Duration kPatience = seconds(60);

bool blocked(int signal) {
  sigset_t mask;
  EXPECT_EQ(::pthread_sigmask(SIG_BLOCK, nullptr, &mask), 0);
  return sigismember(&mask, signal) == 1;
}

struct sigaction action_of(int signal) {
  struct sigaction action {};
  EXPECT_EQ(::sigaction(signal, nullptr, &action), 0);
  return action;
}

bool handled(int signal) {
  return action_of(signal).sa_handler != SIG_DFL;
}

std::atomic<int> g_seen_by_mine = 0;

// Installs a handler of the program's while it lives.
class MyHandler {
 public:
  explicit MyHandler(int signal) : signal_(signal) {
    g_seen_by_mine = 0;
    before_ = std::signal(signal_, handle);
  }
  MyHandler(const MyHandler&) = delete;
  MyHandler& operator=(const MyHandler&) = delete;
  ~MyHandler() { (void)std::signal(signal_, before_); }

  static void handle(int signal) { g_seen_by_mine = signal; }

 private:
  int signal_;
  void (*before_)(int);
};

class SignalsTest : public testing::Test {
 protected:
  // Runs `body` in a fiber.
  void run(std::function<void(Signals&)> body) {
    ASSERT_TRUE(runtime_.spawn("test", [this, body = std::move(body)] {
      auto signals = Signals::create(runtime_, {SIGUSR1, SIGUSR2});
      ASSERT_TRUE(signals) << signals.error().message();
      body(*signals);
    }));
    runtime_.run();
  }

  Deadline patience() const { return runtime_.after(kPatience); }

  Runtime runtime_ = Runtime::create().value();
};

TEST_F(SignalsTest, EachSignalIsAnEventWithItsNumber) {
  run([this](Signals& signals) {
    ASSERT_EQ(std::raise(SIGUSR2), 0);
    EXPECT_EQ(signals.wait(patience()).value(), SIGUSR2);
    scope([&](Scope& fibers) {
      auto waiter = fibers.spawn("waiter", [&] { return signals.wait(patience()); });
      ASSERT_TRUE(waiter);
      ASSERT_TRUE(this_fiber::yield());
      ASSERT_EQ(std::raise(SIGUSR1), 0);
      EXPECT_EQ(waiter->join().value(), SIGUSR1);
    });
    // Both are pending before anybody looks.
    ASSERT_EQ(std::raise(SIGUSR2), 0);
    ASSERT_EQ(std::raise(SIGUSR1), 0);
    EXPECT_EQ(signals.wait(patience()).value(), SIGUSR1);  // The lower number first.
    EXPECT_EQ(signals.wait(patience()).value(), SIGUSR2);
  });
}

TEST_F(SignalsTest, WaitFailsAtTheDeadlineAndWhenCancelled) {
  run([this](Signals& signals) {
    EXPECT_EQ(signals.wait(runtime_.after(milliseconds(1))).error().code, Errc::kTimedOut);
    scope([&](Scope& fibers) {
      auto waiter = fibers.spawn("waiter", [&] { return signals.wait(patience()); });
      ASSERT_TRUE(waiter);
      ASSERT_TRUE(this_fiber::yield());
      waiter->cancel();
      EXPECT_EQ(waiter->join().error().code, Errc::kCancelled);
    });
    ASSERT_EQ(std::raise(SIGUSR1), 0);
    EXPECT_EQ(signals.wait(patience()).value(), SIGUSR1);
  });
}

TEST_F(SignalsTest, OneThatComesAgainBeforeAnybodyWaitsCountsOnce) {
  run([this](Signals& signals) {
    for (int i = 0; i < 3; ++i) ASSERT_EQ(std::raise(SIGUSR1), 0);
    EXPECT_EQ(signals.wait(patience()).value(), SIGUSR1);
    EXPECT_EQ(signals.wait(runtime_.after(milliseconds(0))).error().code, Errc::kTimedOut);
  });
}

TEST_F(SignalsTest, NothingIsBlockedAndCallsOfOthersAreRestarted) {
  run([](Signals&) {
    for (const int signal : {SIGUSR1, SIGUSR2, SIGTERM}) EXPECT_FALSE(blocked(signal));
    EXPECT_NE(action_of(SIGUSR1).sa_flags & SA_RESTART, 0);
    EXPECT_NE(action_of(SIGUSR1).sa_flags & SA_ONSTACK, 0);  // A fiber's stack may be nearly full.
  });
}

TEST_F(SignalsTest, ItMayBeMadeWhenOtherThreadsRun) {
  std::promise<void> done;
  std::thread other([until = done.get_future()] { until.wait(); });
  run([this](Signals& signals) {
    for (int i = 0; i < 100; ++i) {
      ASSERT_EQ(::kill(::getpid(), SIGUSR1), 0);
      EXPECT_EQ(signals.wait(patience()).value(), SIGUSR1);
    }
  });
  done.set_value();
  other.join();
}

TEST_F(SignalsTest, OneThatAnotherThreadGetsComesToo) {
  run([this](Signals& signals) {
    std::thread([] { ASSERT_EQ(std::raise(SIGUSR2), 0); }).join();
    EXPECT_EQ(signals.wait(patience()).value(), SIGUSR2);
  });
}

// Each counts what it gets, until they have got all.
TEST_F(SignalsTest, OneOfSeveralOnSeveralThreadsGetsIt) {
  constexpr int kSignals = 200;
  std::atomic<int> taken = 0;
  const auto take = [&](Runtime& runtime, Signals& signals) {
    while (taken < kSignals) {
      const auto signal = signals.wait(runtime.after(milliseconds(1)));
      if (!signal) continue;
      EXPECT_EQ(*signal, SIGUSR1);
      if (++taken < kSignals) {
        ASSERT_EQ(::kill(::getpid(), SIGUSR1), 0);
      }
    }
  };
  run([&](Signals& signals) {
    std::promise<void> ready;
    std::thread other([&] {
      auto runtime = Runtime::create().value();
      auto mine = Signals::create(runtime, {SIGUSR1}).value();
      ready.set_value();
      ASSERT_TRUE(runtime.spawn("taker", [&] { take(runtime, mine); }));
      runtime.run();
    });
    ready.get_future().wait();
    ASSERT_EQ(::kill(::getpid(), SIGUSR1), 0);
    take(runtime_, signals);
    other.join();
    EXPECT_EQ(signals.wait(runtime_.after(milliseconds(0))).error().code, Errc::kTimedOut);
  });
  EXPECT_EQ(taken, kSignals);
}

TEST_F(SignalsTest, HandlersOfBeforeAreRestored) {
  ASSERT_FALSE(handled(SIGUSR2));
  const MyHandler mine(SIGUSR1);
  run([this](Signals& signals) {
    EXPECT_TRUE(handled(SIGUSR2));
    ASSERT_EQ(std::raise(SIGUSR1), 0);
    EXPECT_EQ(signals.wait(patience()).value(), SIGUSR1);
    EXPECT_EQ(g_seen_by_mine, 0);
  });
  EXPECT_FALSE(handled(SIGUSR2));
  ASSERT_EQ(std::raise(SIGUSR1), 0);
  EXPECT_EQ(g_seen_by_mine, SIGUSR1);
}

TEST_F(SignalsTest, HandlerThatSomebodyElseInstalledMeanwhileStays) {
  std::optional<MyHandler> mine;
  run([&](Signals&) { mine.emplace(SIGUSR1); });
  ASSERT_EQ(std::raise(SIGUSR1), 0);
  EXPECT_EQ(g_seen_by_mine, SIGUSR1);
  mine.reset();
  (void)std::signal(SIGUSR1, SIG_DFL);
}

TEST_F(SignalsTest, OneThatNobodyHasWaitedForGoesToTheHandlerOfBefore) {
  const MyHandler mine(SIGUSR1);
  run([](Signals&) { ASSERT_EQ(std::raise(SIGUSR1), 0); });
  EXPECT_EQ(g_seen_by_mine, SIGUSR1);
  run([this](Signals& signals) {
    EXPECT_EQ(signals.wait(runtime_.after(milliseconds(0))).error().code, Errc::kTimedOut);
  });
}

// A signal that is not handled any more would end the process, by default.
TEST_F(SignalsTest, TwoThatNameOneSignalMayEndInAnyOrder) {
  const std::initializer_list<int> numbers = {SIGUSR1};
  for (const bool first_ends_first : {true, false}) {
    std::optional<Signals> first = Signals::create(runtime_, numbers).value();
    std::optional<Signals> second = Signals::create(runtime_, {SIGUSR1, SIGUSR2}).value();
    (first_ends_first ? first : second).reset();
    EXPECT_TRUE(handled(SIGUSR1));
    EXPECT_EQ(handled(SIGUSR2), first_ends_first);
    (first_ends_first ? second : first).reset();
    EXPECT_FALSE(handled(SIGUSR1));
    EXPECT_FALSE(handled(SIGUSR2));
  }
}

// As a parent may have done it.
TEST_F(SignalsTest, SignalThatWasBlockedBeforeComesAndIsBlockedAgainAfterwards) {
  sigset_t mine;
  sigemptyset(&mine);
  sigaddset(&mine, SIGUSR1);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &mine, nullptr), 0);
  {
    auto other = Signals::create(runtime_, {SIGUSR1, SIGUSR1}).value();
    run([this](Signals& signals) {
      ASSERT_EQ(::kill(::getpid(), SIGUSR1), 0);
      EXPECT_EQ(signals.wait(patience()).value(), SIGUSR1);
    });
    EXPECT_FALSE(blocked(SIGUSR1));  // The other one names it still.
  }
  EXPECT_TRUE(blocked(SIGUSR1));
  EXPECT_FALSE(blocked(SIGUSR2));
  ASSERT_EQ(::pthread_sigmask(SIG_UNBLOCK, &mine, nullptr), 0);
}

TEST_F(SignalsTest, WhatCannotBeCaughtIsRefusedAndTheRestLeftAsItWas) {
  for (const int signal : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, 0, -1, 1000}) {
    const auto signals = Signals::create(runtime_, {SIGUSR1, signal});
    ASSERT_FALSE(signals) << signal;
    EXPECT_EQ(signals.error().code, Errc::kInvalid) << signal;
    EXPECT_FALSE(handled(SIGUSR1)) << signal;
  }
}

// How many descriptors epoll instances of this process watch.
std::ptrdiff_t watched() {
  std::ptrdiff_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
    std::ifstream info(entry.path());
    for (std::string line; std::getline(info, line);) count += line.starts_with("tfd:") ? 1 : 0;
  }
  return count;
}

// The kernel would go on with it, since the descriptor is a duplicate.
TEST_F(SignalsTest, DestroyedOnesAreNotWatchedAnyMore) {
  const std::ptrdiff_t before = watched();
  {
    const std::array both{Signals::create(runtime_, {SIGUSR1}).value(),
                          Signals::create(runtime_, {SIGUSR1}).value()};
    EXPECT_EQ(watched(), before + 2);
  }
  EXPECT_EQ(watched(), before);
}

// The write in the handler fails: the descriptor that it writes to is closed.
TEST_F(SignalsTest, WhatASignalInterruptsFindsItsErrno) {
  const auto catch_one = [] {
    auto runtime = Runtime::create().value();
    const auto signals = Signals::create(runtime, {SIGUSR1}).value();
    if (::close_range(3, ~0U, 0) != 0) ::_exit(2);
    errno = ENOENT;
    (void)std::raise(SIGUSR1);
    ::_exit(errno == ENOENT ? 0 : 1);
  };
  EXPECT_EXIT(catch_one(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace heddle
