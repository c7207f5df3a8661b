// What the scheduler owes fibers that start, end and are told to stop.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/fiber_local.h"
#include "heddle/sync.h"
#include "heddle/wait_queue.h"

#include "fiber/no_park.h"
#include "fiber/scheduler.h"
#include "support/sim.h"

namespace heddle {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

TEST(SchedulerTurnsTest, FibersThatEndOneAfterAnotherDoNotStopTime) {
  sim::World world(1);
  bool timed_out = false;
  int begun = 0;
  world.spawn("sleeper", [&] {
    (void)this_fiber::sleep_until(Deadline::at(world.now()));
    timed_out = true;
  });
  std::function<void()> next = [&] {
    if (!timed_out && ++begun < 10'000) world.spawn("short", next);
  };
  world.spawn("first", next);
  world.run();
  EXPECT_LT(begun, 10'000);
}

TEST(SchedulerTurnsTest, StacksAreUsedAgain) {
  sim::World world(1);
  world.run([&] {
    for (int i = 0; i < 100; ++i) {
      scope([](Scope& fibers) { ASSERT_TRUE(fibers.spawn("short", [] {})); });
    }
  });
  EXPECT_GE(world.scheduler().stacks_pooled(), 1U);
  EXPECT_LE(world.scheduler().stacks_pooled(), 3U);
}

TEST(SchedulerTurnsTest, FiberLocalIsDestroyedOnItsOwnFiber) {
  struct Watched {
    Watched() = default;
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;
    ~Watched() {
      if (seen != nullptr) *seen = this_fiber::name();
    }
    std::string* seen = nullptr;
  };
  static const FiberLocal<Watched> local;
  sim::World world(1);
  std::string seen;
  world.run([&] {
    scope([&](Scope& fibers) { ASSERT_TRUE(fibers.spawn("owner", [&] { local->seen = &seen; })); });
  });
  EXPECT_EQ(seen, "owner");
}

// The address checker looks: the entry in the queue must go with the fiber.
TEST(SchedulerTurnsTest, DeadlineOfAFiberThatHasEndedMeansNothing) {
  sim::World world(1);
  world.run([] {
    WaitQueue queue;
    scope([&](Scope& fibers) {
      for (int i = 1; i < 20; ++i) {
        ASSERT_TRUE(fibers.spawn("short-lived", [&, i] {
          EXPECT_EQ(queue.wait(this_fiber::after(seconds(10 * i))), Wake::kReady);
        }));
      }
      ASSERT_TRUE(this_fiber::sleep_until(this_fiber::after(seconds(1))));
      queue.wake_all();
    });
    ASSERT_TRUE(this_fiber::sleep_until(this_fiber::after(hours(1))));
  });
}

TEST(SchedulerTurnsTest, FibersRunInTheOrderInWhichTheyBecameReadyUnlessPicked) {
  class Plain final : public fiber::Source {
   public:
    TimePoint now() const noexcept override { return {}; }
    void wait(Deadline /*until*/) override {}
  };
  Plain source;
  fiber::Scheduler scheduler(source);
  std::vector<int> order;
  for (int i = 0; i < 5; ++i) {
    auto entry = [&order, i] {
      for (int round = 0; round < 3; ++round) {
        order.push_back(i);
        EXPECT_TRUE(this_fiber::yield());
      }
    };
    ASSERT_TRUE(
        scheduler.spawn({.name = "fiber"}, detail::make_task_state(std::move(entry)), nullptr));
  }
  scheduler.run();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4}));
}

// Each is done again and again by a fiber that does not look at what it returns.
struct Stubborn {
  const char* name;
  std::function<void(sim::World&)> operation;
};

std::vector<Stubborn> stubborn_operations() {
  const auto closed = std::make_shared<Channel<int>>(1);
  closed->close();
  const auto full = std::make_shared<Channel<int>>(1);
  const auto mutex = std::make_shared<Mutex>();
  const auto group = std::make_shared<WaitGroup>();
  const auto free = std::make_shared<Semaphore>(std::size_t{1} << 40);
  const auto none = std::make_shared<Semaphore>(0);
  return {
      {"yield", [](sim::World&) { (void)this_fiber::yield(); }},
      {"breathe", [](sim::World& world) { (void)world.scheduler().breathe(); }},
      {"sleep", [](sim::World& world) { (void)this_fiber::sleep_until(world.after(hours(1))); }},
      {"sleep, not at all",
       [](sim::World& world) { (void)this_fiber::sleep_until(Deadline::at(world.now())); }},
      {"pop a closed channel", [closed](sim::World&) { (void)closed->pop(); }},
      {"push a closed channel", [closed](sim::World&) { (void)closed->push(1); }},
      {"push and pop",
       [full](sim::World& world) {
         (void)full->push(1, world.after(hours(1)));
         (void)full->pop(world.after(hours(1)));
       }},
      {"lock", [mutex](sim::World&) { (void)mutex->lock(); }},
      {"a group of none", [group](sim::World&) { (void)group->wait(); }},
      {"a semaphore with units", [free](sim::World&) { (void)free->acquire(); }},
      {"a semaphore without",
       [none](sim::World& world) { (void)none->acquire(world.after(hours(1))); }},
  };
}

// Repeats `operation` until another fiber has had `kTurns` turns. Returns how often.
int repeat_beside_another(const Stubborn& stubborn, bool cancelled) {
  constexpr int kTurns = 10;
  constexpr int kMost = 10'000;
  sim::World world(1);
  int turns = 0;
  int repeated = 0;
  world.run([&] {
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("stubborn", [&] {
        while (turns < kTurns && ++repeated < kMost) stubborn.operation(world);
      });
      if (cancelled) task->cancel();
      ASSERT_TRUE(fibers.spawn("another", [&] {
        while (++turns < kTurns) (void)this_fiber::yield();
      }));
    });
  });
  return repeated;
}

TEST(SchedulerTurnsTest, WhateverAFiberRepeatsForEverOthersRun) {
  for (const Stubborn& stubborn : stubborn_operations()) {
    for (const bool cancelled : {false, true}) {
      EXPECT_LT(repeat_beside_another(stubborn, cancelled), 1000)
          << stubborn.name << (cancelled ? ", cancelled" : "");
    }
  }
}

TEST(SchedulerTurnsTest, OperationsOfACancelledFiberThatNeverHaveToWaitFailInTheEnd) {
  sim::World world(1);
  Semaphore units(10'000);
  Errc code{};
  world.run([&] {
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("taker", [&] {
        for (;;) {
          const Result<void> taken = units.acquire();
          if (!taken) code = taken.error().code;
          if (!taken) return;
        }
      });
      task->cancel();
    });
  });
  EXPECT_EQ(code, Errc::kCancelled);
  EXPECT_GT(units.available(), 9'000U);
}

// A source of events that counts how often it is asked, and whose clock is moved by hand.
class Clock final : public fiber::Source {
 public:
  TimePoint now() const noexcept override { return seen_; }
  TimePoint look_at_clock() noexcept override { return seen_ = time; }
  void wait(Deadline until) override {
    ++looks;
    if (!until.is_never() && until.time() > time) time = until.time();
    seen_ = time;
  }

  TimePoint time{};
  int looks = 0;

 private:
  TimePoint seen_{};
};

template <typename Entry>
void spawn(fiber::Scheduler& scheduler, Entry entry) {
  ASSERT_TRUE(
      scheduler.spawn({.name = "fiber"}, detail::make_task_state(std::move(entry)), nullptr));
}

TEST(SchedulerTurnsTest, EventsAreLookedForHoweverFibersKeepEachOtherBusy) {
  constexpr int kOperations = 10'000;
  constexpr int kMost = 128;  // Between two looks.
  for (const int fibers : {1, 5, 100}) {
    Clock clock;
    fiber::Scheduler scheduler(clock);
    for (int i = 0; i < fibers; ++i) {
      spawn(scheduler, [&scheduler, fibers] {
        for (int done = 0; done < kOperations / fibers; ++done) (void)scheduler.breathe();
      });
    }
    scheduler.run();
    EXPECT_GE(clock.looks, kOperations / kMost) << fibers << " fibers";
  }
}

TEST(SchedulerTurnsTest, WhereParkingIsForbiddenBreathingIsPutOff) {
  sim::World world(1);
  int turns = 0;
  world.run([&] {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("another", [&] { ++turns; }));
      {
        const fiber::NoParkScope no_park("a test");
        for (int i = 0; i < 1000; ++i) EXPECT_EQ(world.scheduler().breathe(), Wake::kReady);
        EXPECT_EQ(turns, 0);
      }
      for (int i = 0; i < 100 && turns == 0; ++i) (void)world.scheduler().breathe();
      EXPECT_EQ(turns, 1);
    });
  });
}

TEST(SchedulerTurnsTest, DeadlineBeginsWhenItIsMadeHoweverLongAnotherFiberHasComputed) {
  Clock clock;
  fiber::Scheduler scheduler(clock);
  TimePoint woken{};
  spawn(scheduler, [&] { clock.time += seconds(10); });
  spawn(scheduler, [&] {
    ASSERT_TRUE(this_fiber::sleep_until(this_fiber::after(seconds(1))));
    woken = clock.time;
  });
  scheduler.run();
  EXPECT_EQ(woken, TimePoint(seconds(11)));
}

TEST(SchedulerTurnsTest, DelaysAtTheEndsOfTheirRange) {
  sim::World world(1);
  world.run([&] {
    (void)this_fiber::sleep_until(world.after(hours(1)));
    for (const Deadline far : {this_fiber::after(Duration::max()), this_fiber::after(hours::max()),
                               this_fiber::after(std::chrono::duration<double>(1e300)),
                               Deadline::at(TimePoint::max())}) {
      EXPECT_TRUE(far.is_never());
    }
    for (const Deadline past : {this_fiber::after(Duration::min()), this_fiber::after(hours::min()),
                                this_fiber::after(-hours(2)), Deadline::at(TimePoint::min())}) {
      EXPECT_LT(past.time(), world.now());
      EXPECT_TRUE(this_fiber::sleep_until(past));
    }
    EXPECT_EQ(Deadline::after(TimePoint::min(), Duration::min()).time(), TimePoint::min());
    EXPECT_EQ(this_fiber::after(seconds(1)).time(), world.now() + seconds(1));
    EXPECT_FALSE(this_fiber::after(Duration::max() - hours(2)).is_never());
  });
}

TEST(SchedulerTurnsTest, FiberMayBeCancelledBeforeDuringAndAfterRun) {
  sim::World world(1);
  std::vector<std::string> ended;
  const auto sleeper = [&](const char* name) {
    return [&, name] {
      if (!this_fiber::sleep_until(Deadline::never())) ended.emplace_back(name);
    };
  };
  const auto before = world.spawn("before", sleeper("before"));
  detail::cancel(*before);
  const auto during = world.spawn("during", sleeper("during"));
  world.spawn("canceller", [&] { detail::cancel(*during); });
  world.run();
  EXPECT_EQ(ended, (std::vector<std::string>{"before", "during"}));
  detail::cancel(*before);
}

TEST(SchedulerTurnsDeathTest, RunningASchedulerFromAFiberAborts) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        world.run([&] { world.run(); });
      },
      "run\\(\\) inside run\\(\\), on one thread");
}

TEST(SchedulerTurnsDeathTest, ParkingOutsideFibersAborts) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        world.scheduler().park(Deadline::never());
      },
      "park\\(\\) outside any fiber");
}

TEST(SchedulerTurnsDeathTest, FiberCallsWithoutARuntimeSayWhatIsMissing) {
  EXPECT_DEATH((void)this_fiber::yield(), "on a thread on which no runtime runs");
}

TEST(SchedulerTurnsDeathTest, YieldingWhereParkingIsForbiddenNamesFiberAndPlace) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        world.spawn("impatient", [] {
          const fiber::NoParkScope no_park("a transport's try_read()");
          (void)this_fiber::yield();
        });
        world.run();
      },
      "it yields inside a transport's try_read\\(\\), where no other fiber may run.* \\(in fiber "
      "'impatient'\\)");
}

}  // namespace
}  // namespace heddle
