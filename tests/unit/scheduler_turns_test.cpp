// What the scheduler owes fibers that start, end and are told to stop.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/fiber_local.h"
#include "heddle/wait_queue.h"

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
    ASSERT_TRUE(scheduler.spawn(
        "fiber", std::make_shared<detail::EntryState<void, decltype(entry)>>(entry), nullptr));
  }
  scheduler.run();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4}));
}

TEST(SchedulerTurnsDeathTest, RunningASchedulerFromAFiberAborts) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        world.run([&] { world.run(); });
      },
      "t_current == nullptr");
}

TEST(SchedulerTurnsDeathTest, ParkingOutsideFibersAborts) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        world.scheduler().park(Deadline::never());
      },
      "running_ != nullptr");
}

}  // namespace
}  // namespace heddle
