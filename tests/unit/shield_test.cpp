// Clean-up in a cancelled fiber, and scopes that are joined in their middle.
#include <chrono>
#include <stdexcept>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/wait_queue.h"

#include "support/seeds.h"
#include "support/settle.h"
#include "support/sim.h"

namespace heddle {
namespace {

using std::chrono::seconds;
using test::settle;

Result<void> nap() {
  return this_fiber::sleep_until(this_fiber::after(seconds(1)));
}

// The parameter is the seed of the schedule.
class ShieldTest : public testing::TestWithParam<int> {
 protected:
  sim::World world{static_cast<std::uint64_t>(GetParam())};
};
class ScopeJoinTest : public ShieldTest {};

TEST_P(ShieldTest, CancelledFiberWaitsInsideAndIsCancelledAgainBehind) {
  world.run([] {
    scope([](Scope& fibers) {
      fibers.cancel();
      ASSERT_TRUE(fibers.spawn("cleaner", [] {
        EXPECT_EQ(nap().error().code, Errc::kCancelled);
        const TimePoint before = this_fiber::now();
        const int returned = this_fiber::shielded([] {
          EXPECT_FALSE(this_fiber::cancelled());
          EXPECT_TRUE(nap());
          EXPECT_TRUE(this_fiber::yield());
          return 7;
        });
        EXPECT_EQ(returned, 7);
        EXPECT_EQ(this_fiber::now(), before + seconds(1));
        EXPECT_TRUE(this_fiber::cancelled());
        EXPECT_EQ(nap().error().code, Errc::kCancelled);
      }));
    });
  });
}

TEST_P(ShieldTest, CancellingInsideWaitsForTheEndAlsoOfNestedOnes) {
  world.run([] {
    scope([](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("cleaner", [] {
        this_fiber::shielded([] {
          this_fiber::shielded([] { EXPECT_TRUE(nap()); });
          EXPECT_FALSE(this_fiber::cancelled());
          EXPECT_TRUE(nap());
        });
        EXPECT_TRUE(this_fiber::cancelled());
      }));
      settle();
      fibers.cancel();
    });
  });
}

TEST_P(ShieldTest, EndsWithAnExceptionAndChangesNothingElse) {
  world.run([] {
    EXPECT_THROW(this_fiber::shielded([] { throw std::runtime_error("rollback failed"); }),
                 std::runtime_error);
    scope([](Scope& fibers) {
      auto task = fibers.spawn("other", [] { EXPECT_EQ(nap().error().code, Errc::kCancelled); });
      ASSERT_TRUE(task);
      settle();
      task->cancel();
    });
    EXPECT_FALSE(this_fiber::cancelled());
  });
}

TEST_P(ShieldTest, FibersSpawnedInsideAreNotShielded) {
  world.run([] {
    scope([](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("cleaner", [&fibers] {
        this_fiber::shielded([&fibers] {
          ASSERT_TRUE(
              fibers.spawn("helper", [] { EXPECT_EQ(nap().error().code, Errc::kCancelled); }));
          settle();
          fibers.cancel();
          EXPECT_TRUE(nap());
        });
      }));
    });
  });
}

TEST_P(ScopeJoinTest, WaitsForAllAndMoreCanBeSpawned) {
  world.run([] {
    scope([](Scope& fibers) {
      int ended = 0;
      EXPECT_TRUE(fibers.join(Deadline::never())) << "there is none";
      for (int round = 1; round <= 2; ++round) {
        for (int i = 0; i < 3; ++i) {
          ASSERT_TRUE(fibers.spawn("worker", [&ended] {
            EXPECT_TRUE(nap());
            ++ended;
          }));
        }
        EXPECT_TRUE(fibers.join(this_fiber::after(seconds(2))));
        EXPECT_EQ(ended, 3 * round);
      }
    });
  });
}

TEST_P(ScopeJoinTest, GivesUpAtTheDeadlineAndWhenCancelledAndTheFibersGoOn) {
  world.run([] {
    bool ended = false;
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("worker", [&ended] {
        EXPECT_TRUE(nap());
        ended = true;
      }));
      EXPECT_EQ(fibers.join(this_fiber::after(seconds(1) / 2)).error().code, Errc::kTimedOut);
      EXPECT_EQ(fibers.join(Deadline::at(TimePoint::min())).error().code, Errc::kTimedOut);
      scope([&](Scope& others) {
        others.cancel();
        ASSERT_TRUE(others.spawn("joiner", [&fibers] {
          EXPECT_EQ(fibers.join(Deadline::never()).error().code, Errc::kCancelled);
        }));
      });
      EXPECT_FALSE(ended);
    });
    EXPECT_TRUE(ended);
  });
}

TEST(ScopeJoinDeathTest, FiberOfTheScopeIsToldThatItWouldWaitForItself) {
  sim::World world(1);
  EXPECT_DEATH(world.run([] {
    scope([](Scope& fibers) {
      (void)fibers.spawn("child", [&fibers] { (void)fibers.join(Deadline::never()); });
    });
  }),
               "Scope::join\\(\\) by a fiber of that scope.* \\(in fiber 'child'\\)");
}

INSTANTIATE_TEST_SUITE_P(Seeds, ShieldTest, test::seeds<int>(0, 16), test::kSeedName);
INSTANTIATE_TEST_SUITE_P(Seeds, ScopeJoinTest, test::seeds<int>(0, 16), test::kSeedName);

}  // namespace
}  // namespace heddle
