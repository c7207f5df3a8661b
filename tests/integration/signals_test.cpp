// Signals as events.
#include "heddle/signals.h"

#include <csignal>
#include <functional>
#include <optional>

#include <gtest/gtest.h>

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

TEST_F(SignalsTest, MaskIsRestored) {
  ASSERT_FALSE(blocked(SIGUSR1));
  run([](Signals&) { EXPECT_TRUE(blocked(SIGUSR1)); });
  EXPECT_FALSE(blocked(SIGUSR1));
}

// A signal that is not blocked any more would end the process, by default.
TEST_F(SignalsTest, TwoThatNameOneSignalMayEndInAnyOrder) {
  const std::initializer_list<int> numbers = {SIGUSR1};
  for (const bool first_ends_first : {true, false}) {
    std::optional<Signals> first = Signals::create(runtime_, numbers).value();
    std::optional<Signals> second = Signals::create(runtime_, {SIGUSR1, SIGUSR2}).value();
    (first_ends_first ? first : second).reset();
    EXPECT_TRUE(blocked(SIGUSR1));
    EXPECT_EQ(blocked(SIGUSR2), first_ends_first);
    (first_ends_first ? second : first).reset();
    EXPECT_FALSE(blocked(SIGUSR1));
    EXPECT_FALSE(blocked(SIGUSR2));
  }
}

TEST_F(SignalsTest, SignalThatWasBlockedBeforeStaysSo) {
  sigset_t mine;
  sigemptyset(&mine);
  sigaddset(&mine, SIGUSR1);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &mine, nullptr), 0);
  run([](Signals&) { EXPECT_TRUE(blocked(SIGUSR2)); });
  EXPECT_TRUE(blocked(SIGUSR1));
  EXPECT_FALSE(blocked(SIGUSR2));
  ASSERT_EQ(::pthread_sigmask(SIG_UNBLOCK, &mine, nullptr), 0);
}

}  // namespace
}  // namespace heddle
