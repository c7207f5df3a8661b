// Fibers, parking, cancelling, and what follows a fiber across a switch.
#include "fiber/scheduler.h"

#include <cerrno>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/fiber_local.h"

#include "fiber/no_park.h"
#include "support/sim.h"

namespace heddle {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(SchedulerTest, ExceptionInFlightStaysWithItsFiber) {
  sim::World world(1);
  std::vector<std::string> caught(2);
  for (std::size_t i = 0; i < 2; ++i) {
    world.spawn("thrower", [&, i] {
      try {
        throw std::runtime_error(std::to_string(i));
      } catch (const std::exception&) {
        // The other fiber throws, catches and parks while we are in here.
        (void)this_fiber::sleep_until(this_fiber::after(milliseconds(1)));
        try {
          throw;
        } catch (const std::exception& same) {
          caught[i] = same.what();
        }
      }
    });
  }
  world.run();
  EXPECT_EQ(caught, (std::vector<std::string>{"0", "1"}));
}

TEST(SchedulerTest, ErrnoStaysWithItsFiber) {
  sim::World world(1);
  for (const int mine : {EPIPE, ECONNRESET}) {
    world.spawn("fails", [mine] {
      errno = mine;
      (void)this_fiber::sleep_until(this_fiber::after(milliseconds(1)));
      EXPECT_EQ(errno, mine);
    });
  }
  world.run();
}

TEST(SchedulerTest, CancelledFiberNeverParksAgain) {
  sim::World world(1);
  const auto victim = world.spawn("victim", [&] {
    EXPECT_EQ(world.scheduler().park(Deadline::never()), Wake::kCancelled);
    EXPECT_EQ(world.scheduler().park(Deadline::never()), Wake::kCancelled);
    EXPECT_EQ(this_fiber::yield().error().code, Errc::kCancelled);
    EXPECT_EQ(this_fiber::sleep_until(this_fiber::after(hours(1))).error().code, Errc::kCancelled);
    EXPECT_TRUE(this_fiber::cancelled());
  });
  world.spawn("canceller", [&] {
    (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
    world.scheduler().cancel(*victim->fiber);
  });
  world.run();
}

TEST(SchedulerTest, TimeDoesNotMoveWhileAFiberIsReady) {
  sim::World world(1);
  const TimePoint start = world.now();
  world.spawn("sleeper", [&] {
    EXPECT_EQ(world.scheduler().park(world.after(hours(1))), Wake::kTimedOut);
    EXPECT_EQ(world.now() - start, hours(1));
  });
  world.spawn("worker", [&] { EXPECT_EQ(world.now(), start); });
  world.run();
}

TEST(SchedulerTest, DeadlineThatMovesOnIsKept) {
  sim::World world(1);
  world.run([&] {
    fiber::Fiber& self = world.scheduler().running_fiber();
    auto poker = [&] {
      for (int i = 0; i < 10; ++i) {
        (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
        world.scheduler().wake(self);
      }
    };
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("poker", poker));
      const TimePoint start = world.now();
      for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(world.scheduler().park(world.after(seconds(30))), Wake::kReady);
      }
      EXPECT_EQ(world.scheduler().park(world.after(seconds(30))), Wake::kTimedOut);
      EXPECT_EQ(world.now() - start, seconds(40));
    });
  });
}

TEST(SchedulerTest, DeadlineThatMovesForwardIsKept) {
  sim::World world(1);
  world.run([&] {
    fiber::Fiber& self = world.scheduler().running_fiber();
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("poker", [&] {
        (void)this_fiber::yield();
        world.scheduler().wake(self);
      }));
      EXPECT_EQ(world.scheduler().park(world.after(hours(1))), Wake::kReady);
      EXPECT_EQ(world.scheduler().park(world.after(seconds(1))), Wake::kTimedOut);
      EXPECT_EQ(world.now(), TimePoint(seconds(1)));
    });
  });
}

TEST(SchedulerTest, ExceptionLeavingAnEntryIsThrownFromRun) {
  sim::World world(1);
  world.spawn("bad", [] { throw std::runtime_error("boom"); });
  EXPECT_THROW(world.run(), std::runtime_error);
}

TEST(SchedulerTest, FibersThatKeepEachOtherBusyDoNotStopTime) {
  sim::World world(1);
  bool timed_out = false;
  world.spawn("sleeper", [&] {
    (void)this_fiber::sleep_until(Deadline::at(world.now()));
    timed_out = true;
  });
  world.spawn("busy", [&] {
    // The deadline has passed: only a look for events is needed.
    for (int i = 0; i < 10'000 && !timed_out; ++i) (void)this_fiber::yield();
    EXPECT_TRUE(timed_out);
  });
  world.run();
}

TEST(SchedulerTest, FiberThatNeverHasToWaitLetsOthersRun) {
  sim::World world(1);
  bool other_ran = false;
  world.run([&] {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("other", [&] { other_ran = true; }));
      for (int i = 0; i < 1'000; ++i) world.scheduler().breathe();
      EXPECT_TRUE(other_ran);
    });
  });
}

TEST(SchedulerTest, FiberLocalsAreEachFibersOwnAndEndWithIt) {
  static const FiberLocal<std::shared_ptr<int>> local;
  sim::World world(1);
  auto watched = std::make_shared<int>(7);
  const std::weak_ptr<int> alive = watched;
  world.run([&] {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("one", [&] {
        *local = std::move(watched);
        (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
        EXPECT_EQ(**local, 7);
      }));
      ASSERT_TRUE(fibers.spawn("two", [&] {
        (void)this_fiber::sleep_until(this_fiber::after(milliseconds(1)));
        EXPECT_EQ(*local, nullptr);
        EXPECT_FALSE(alive.expired());
      }));
    });
    EXPECT_TRUE(alive.expired());
  });
}

TEST(SchedulerTest, StackUseIsMeasuredAndGivenBack) {
  sim::World world(1);
  world.run([&] {
    const std::size_t before = this_fiber::stack_high_water();
    {
      std::array<volatile char, 64 * 1024> deep;
      for (volatile char& each : deep) each = 1;
    }
    EXPECT_GE(this_fiber::stack_high_water(), std::size_t{64} * 1024);
    this_fiber::release_unused_stack();
    EXPECT_LT(this_fiber::stack_high_water(), before + 8192);
  });
}

TEST(SchedulerDeathTest, ParkingInsideNoParkScopeAborts) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        world.run([&] {
          const fiber::NoParkScope no_park("a test");
          world.scheduler().park(Deadline::never());
        });
      },
      "it parks inside a test, where no other fiber may run.* \\(in fiber 'main'\\)");
}

[[gnu::noinline]] int recurse(int depth) {
  std::array<volatile char, 1024> frame;
  frame[0] = static_cast<char>(depth);
  return depth == 0 ? 0 : recurse(depth - 1) + frame[0];
}

TEST(SchedulerDeathTest, StackOverflowNamesTheFiber) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        world.spawn("deep diver", [] { (void)recurse(1'000'000); });
        world.run();
      },
      "fiber 'deep diver' ran over its stack of 128 KiB");
}

TEST(SchedulerDeathTest, DestroyingASchedulerWithFibersAborts) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        world.spawn("never runs", [] {});
      },
      "a runtime is destroyed while 1 fibers have not finished, such as 'never runs'");
}

}  // namespace
}  // namespace heddle
