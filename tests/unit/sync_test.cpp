// What fibers synchronise with: no wake-up is lost, nobody overtakes, nothing hangs.
#include "heddle/sync.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/fiber.h"

#include "support/seeds.h"
#include "support/settle.h"
#include "support/sim.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::settle;

constexpr auto kNever = Deadline::never();

// Lets every fiber that is ready run until it parks. Only for worlds in which no
// timer comes due within a nanosecond.
// The parameter is the seed of the schedule.
class WaitQueueTest : public testing::TestWithParam<int> {
 protected:
  static std::uint64_t seed() { return static_cast<std::uint64_t>(GetParam()); }
};

class SemaphoreTest : public WaitQueueTest {};
class MutexTest : public WaitQueueTest {};
class ConditionTest : public WaitQueueTest {};
class WaitGroupTest : public WaitQueueTest {};

TEST_P(WaitQueueTest, WakesInTheOrderOfArrival) {
  sim::World world(seed());
  world.run([] {
    WaitQueue queue;
    std::vector<int> order;
    scope([&](Scope& fibers) {
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(fibers.spawn("waiter", [&, i] {
          EXPECT_EQ(queue.wait(kNever), Wake::kReady);
          order.push_back(i);
        }));
        settle();
      }
      for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(queue.wake_one());
        settle();
      }
      EXPECT_FALSE(queue.wake_one());
      EXPECT_TRUE(queue.empty());
    });
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  });
}

TEST_P(WaitQueueTest, WhoeverLeavesTheMiddleLeavesTheOthersInOrder) {
  sim::World world(seed());
  world.run([] {
    WaitQueue queue;
    std::vector<int> order;
    scope([&](Scope& fibers) {
      std::vector<Task<void>> tasks;
      for (int i = 0; i < 5; ++i) {
        auto task = fibers.spawn("waiter", [&, i] {
          if (queue.wait(kNever) == Wake::kReady) order.push_back(i);
        });
        ASSERT_TRUE(task) << task.error().message();
        tasks.push_back(*std::move(task));
        settle();
      }
      for (const std::size_t gone : {std::size_t{2}, std::size_t{0}, std::size_t{4}}) {
        tasks[gone].cancel();
        settle();
      }
      queue.wake_all();
    });
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, (std::vector<int>{1, 3}));
  });
}

TEST_P(WaitQueueTest, WokenFiberThatIsCancelledBeforeItRunsIsStillWoken) {
  sim::World world(seed());
  world.run([] {
    WaitQueue queue;
    scope([&](Scope& fibers) {
      auto waiter = fibers.spawn("waiter", [&] {
        EXPECT_EQ(queue.wait(kNever), Wake::kReady);
        EXPECT_EQ(queue.wait(kNever), Wake::kCancelled);
      });
      ASSERT_TRUE(waiter) << waiter.error().message();
      settle();
      EXPECT_TRUE(queue.wake_one());
      waiter->cancel();
      EXPECT_FALSE(queue.wake_one());
    });
  });
}

TEST_P(WaitQueueTest, CancelledFiberThatIsWokenBeforeItRunsTakesTheWake) {
  sim::World world(seed());
  world.run([] {
    WaitQueue queue;
    scope([&](Scope& fibers) {
      auto waiter = fibers.spawn("waiter", [&] { EXPECT_EQ(queue.wait(kNever), Wake::kReady); });
      ASSERT_TRUE(waiter) << waiter.error().message();
      settle();
      waiter->cancel();
      EXPECT_TRUE(queue.wake_one());
    });
  });
}

// Both come due in the same look at the clock, so whoever runs first wakes one that
// has timed out and has not run yet, or finds that it has left.
TEST_P(WaitQueueTest, WakeAtTheMomentOfADeadlineGoesToExactlyOne) {
  sim::World world(seed());
  world.run([] {
    WaitQueue queue;
    int woken = 0;
    int wakes = 0;
    const Deadline together = this_fiber::after(seconds(1));
    scope([&](Scope& fibers) {
      for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(fibers.spawn("waiter", [&] {
          const Wake wake = queue.wait(together);
          if (wake == Wake::kReady) ++woken;
          EXPECT_NE(wake, Wake::kCancelled);
        }));
      }
      ASSERT_TRUE(fibers.spawn("waker", [&] {
        ASSERT_TRUE(this_fiber::sleep_until(together));
        for (int i = 0; i < 2; ++i) wakes += queue.wake_one() ? 1 : 0;
      }));
    });
    EXPECT_EQ(woken, wakes);
  });
}

TEST_P(WaitQueueTest, FiberThatMayNotBeCancelledWaitsOn) {
  sim::World world(seed());
  world.run([] {
    WaitQueue queue;
    scope([&](Scope& fibers) {
      auto waiter = fibers.spawn("waiter", [&] {
        EXPECT_EQ(queue.wait(kNever, Cancellable::kNo), Wake::kReady);
        EXPECT_TRUE(this_fiber::cancelled());
        // From now on only what must not be cancelled parks.
        EXPECT_EQ(queue.wait(kNever), Wake::kCancelled);
        EXPECT_EQ(queue.wait(this_fiber::after(seconds(1)), Cancellable::kNo), Wake::kTimedOut);
      });
      ASSERT_TRUE(waiter) << waiter.error().message();
      settle();
      waiter->cancel();
      settle();
      EXPECT_FALSE(waiter->finished());
      EXPECT_TRUE(queue.wake_one());
    });
  });
}

TEST_P(WaitQueueTest, CancelledFiberLeavesNoTraceInTheQueue) {
  sim::World world(seed());
  world.run([] {
    WaitQueue queue;
    scope([&](Scope& fibers) {
      auto late = fibers.spawn("late", [&] { EXPECT_EQ(queue.wait(kNever), Wake::kCancelled); });
      ASSERT_TRUE(late) << late.error().message();
      late->cancel();
      settle();
      EXPECT_TRUE(queue.empty());
    });
  });
}

TEST(WaitQueueDeathTest, DestroyingAQueueInWhichAFiberWaitsAborts) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        auto queue = std::make_unique<WaitQueue>();
        world.spawn("waiter", [&] { (void)queue->wait(kNever); });
        world.spawn("destroyer", [&] {
          settle();
          queue.reset();
        });
        world.run();
      },
      "what fiber 'waiter' waits for \\(for another fiber\\) is destroyed");
}

TEST_P(SemaphoreTest, FailsAtTheDeadlineAndWhenCancelledAndTakesNothing) {
  sim::World world(seed());
  world.run([] {
    Semaphore semaphore(0);
    const TimePoint start = this_fiber::now();
    EXPECT_EQ(semaphore.acquire(this_fiber::after(seconds(3))).error().code, Errc::kTimedOut);
    EXPECT_EQ(this_fiber::now() - start, seconds(3));
    scope([&](Scope& fibers) {
      auto waiter = fibers.spawn("waiter", [&] {
        EXPECT_EQ(semaphore.acquire().error().code, Errc::kCancelled);
        // A unit that is there needs no waiting.
        semaphore.release();
        EXPECT_TRUE(semaphore.acquire());
      });
      ASSERT_TRUE(waiter) << waiter.error().message();
      settle();
      waiter->cancel();
    });
    semaphore.release();
    EXPECT_EQ(semaphore.available(), 1U);
    EXPECT_TRUE(semaphore.acquire(Deadline::at(TimePoint::min())));
    EXPECT_FALSE(semaphore.try_acquire());
  });
}

TEST_P(SemaphoreTest, UnitGoesToWhoeverHasWaitedLongest) {
  sim::World world(seed());
  world.run([] {
    Semaphore semaphore(0);
    std::vector<int> order;
    scope([&](Scope& fibers) {
      for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(fibers.spawn("waiter", [&, i] {
          ASSERT_TRUE(semaphore.acquire());
          order.push_back(i);
          settle();
          semaphore.release();
        }));
        settle();
      }
      semaphore.release();
      // The unit is on its way to fiber 0, and no newcomer takes it.
      EXPECT_FALSE(semaphore.try_acquire());
      EXPECT_EQ(semaphore.available(), 0U);
      ASSERT_TRUE(semaphore.acquire());
      order.push_back(4);
    });
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
  });
}

TEST_P(SemaphoreTest, UnitsAreNeitherLostNorMadeByDeadlinesAndCancelling) {
  sim::World world(seed());
  world.run([&] {
    Semaphore semaphore(2);
    std::size_t inside = 0;
    scope([&](Scope& fibers) {
      std::vector<Task<void>> tasks;
      for (int i = 0; i < 20; ++i) {
        auto task = fibers.spawn("user", [&] {
          for (int round = 0; round < 10; ++round) {
            if (!semaphore.acquire(world.after(milliseconds(world.below(3))))) continue;
            EXPECT_LE(++inside, 2U);
            (void)this_fiber::sleep_until(world.after(milliseconds(world.below(3))));
            --inside;
            semaphore.release();
          }
        });
        ASSERT_TRUE(task) << task.error().message();
        tasks.push_back(*std::move(task));
      }
      for (std::size_t i = 0; i < tasks.size(); i += 3) {
        ASSERT_TRUE(this_fiber::sleep_until(world.after(milliseconds(1))));
        tasks[i].cancel();
      }
    });
    EXPECT_EQ(semaphore.available(), 2U);
  });
}

TEST_P(MutexTest, KeepsOthersOutWhileItsHolderParks) {
  sim::World world(seed());
  world.run([] {
    Mutex mutex;
    int inside = 0;
    scope([&](Scope& fibers) {
      for (int i = 0; i < 10; ++i) {
        ASSERT_TRUE(fibers.spawn("user", [&] {
          const auto lock = mutex.lock();
          ASSERT_TRUE(lock) << lock.error().message();
          EXPECT_EQ(++inside, 1);
          settle();
          EXPECT_EQ(--inside, 0);
        }));
      }
    });
    EXPECT_FALSE(mutex.locked());
  });
}

TEST_P(MutexTest, FailsAtTheDeadlineAndWhenCancelledAndStaysUsable) {
  sim::World world(seed());
  world.run([] {
    Mutex mutex;
    scope([&](Scope& fibers) {
      auto held = mutex.try_lock();
      ASSERT_TRUE(held);
      EXPECT_FALSE(mutex.try_lock());
      ASSERT_TRUE(fibers.spawn("too late", [&] {
        EXPECT_EQ(mutex.lock(this_fiber::after(seconds(1))).error().code, Errc::kTimedOut);
      }));
      auto cancelled = fibers.spawn(
          "cancelled", [&] { EXPECT_EQ(mutex.lock().error().code, Errc::kCancelled); });
      ASSERT_TRUE(cancelled) << cancelled.error().message();
      ASSERT_TRUE(this_fiber::sleep_until(this_fiber::after(seconds(2))));
      cancelled->cancel();
      settle();
      const auto moved = std::make_unique<Mutex::Lock>(*std::move(held));
      held.reset();  // Moved from: unlocks nothing.
      EXPECT_TRUE(mutex.locked());
    });
    EXPECT_FALSE(mutex.locked());
  });
}

TEST_P(MutexTest, NobodyOvertakesWhoeverWaits) {
  sim::World world(seed());
  world.run([] {
    Mutex mutex;
    std::vector<int> order;
    scope([&](Scope& fibers) {
      auto held = mutex.try_lock();
      ASSERT_TRUE(fibers.spawn("waiter", [&] {
        const auto lock = mutex.lock();
        order.push_back(1);
      }));
      settle();
      held.reset();
      EXPECT_TRUE(mutex.locked());  // It is the waiter's already.
      EXPECT_FALSE(mutex.try_lock());
      const auto lock = mutex.lock();
      order.push_back(2);
    });
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
  });
}

TEST_P(ConditionTest, HoldsTheMutexAgainWhateverTheOutcome) {
  sim::World world(seed());
  world.run([] {
    Mutex mutex;
    Condition changed;
    int inside = 0;
    const auto wait = [&](Deadline deadline) {
      auto lock = mutex.lock().value();
      const Result<void> outcome = changed.wait(lock, deadline);
      EXPECT_TRUE(mutex.locked());
      EXPECT_EQ(++inside, 1);
      // Another one would get in here if this fiber did not hold the mutex.
      (void)this_fiber::yield();
      EXPECT_EQ(--inside, 0);
      return outcome;
    };
    scope([&](Scope& fibers) {
      auto timed_out = fibers.spawn("late", [&] { return wait(this_fiber::after(seconds(1))); });
      auto cancelled = fibers.spawn("cancelled", [&] { return wait(kNever); });
      auto notified = fibers.spawn("notified", [&] { return wait(kNever); });
      ASSERT_TRUE(timed_out && cancelled && notified);
      settle();
      {
        const auto lock = mutex.lock().value();
        ASSERT_TRUE(this_fiber::sleep_until(this_fiber::after(seconds(2))));
        cancelled->cancel();
        settle();
        changed.notify_all();
        settle();
        // All three are done waiting, and must get the mutex before they go on.
        EXPECT_FALSE(timed_out->finished() || cancelled->finished() || notified->finished());
      }
      EXPECT_EQ(timed_out->join().error().code, Errc::kTimedOut);
      EXPECT_EQ(cancelled->join().error().code, Errc::kCancelled);
      EXPECT_TRUE(notified->join());
    });
    EXPECT_FALSE(mutex.locked());
  });
}

TEST_P(ConditionTest, NotifyOneWakesOne) {
  sim::World world(seed());
  world.run([] {
    Mutex mutex;
    Condition changed;
    int woken = 0;
    scope([&](Scope& fibers) {
      for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(fibers.spawn("waiter", [&] {
          auto lock = mutex.lock().value();
          EXPECT_TRUE(changed.wait(lock));
          ++woken;
        }));
      }
      settle();
      changed.notify_one();
      settle();
      EXPECT_EQ(woken, 1);
      changed.notify_all();
      settle();
      EXPECT_EQ(woken, 3);
      changed.notify_one();  // Nobody waits: forgotten.
    });
  });
}

TEST_P(WaitGroupTest, WaitsForAsManyDonesAsAdds) {
  sim::World world(seed());
  world.run([&] {
    WaitGroup group;
    EXPECT_TRUE(group.wait());
    group.add(5);
    int done = 0;
    scope([&](Scope& fibers) {
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(fibers.spawn("worker", [&] {
          (void)this_fiber::sleep_until(world.after(milliseconds(world.below(10))));
          ++done;
          group.done();
        }));
      }
      for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(fibers.spawn("waiter", [&] {
          EXPECT_TRUE(group.wait());
          EXPECT_EQ(done, 5);
        }));
      }
    });
  });
}

TEST_P(WaitGroupTest, GroupThatGrowsBeforeItsWaiterRunsIsWaitedForAgain) {
  sim::World world(seed());
  world.run([] {
    WaitGroup group;
    group.add();
    scope([&](Scope& fibers) {
      auto waiter = fibers.spawn("waiter", [&] { EXPECT_TRUE(group.wait()); });
      ASSERT_TRUE(waiter) << waiter.error().message();
      settle();
      group.done();
      group.add();
      settle();
      EXPECT_FALSE(waiter->finished());
      group.done();
    });
  });
}

TEST_P(WaitGroupTest, FailsAtTheDeadlineAndWhenCancelled) {
  sim::World world(seed());
  world.run([] {
    WaitGroup group;
    group.add();
    EXPECT_EQ(group.wait(this_fiber::after(seconds(1))).error().code, Errc::kTimedOut);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(
          fibers.spawn("waiter", [&] { EXPECT_EQ(group.wait().error().code, Errc::kCancelled); }));
      settle();
      fibers.cancel();
    });
  });
}

TEST(WaitGroupDeathTest, OneDoneTooManyAborts) {
  EXPECT_DEATH(WaitGroup().done(), "WaitGroup::done\\(\\) more often than add\\(\\)");
}

INSTANTIATE_TEST_SUITE_P(Seeds, WaitQueueTest, test::seeds<int>(0, 16), test::kSeedName);
INSTANTIATE_TEST_SUITE_P(Seeds, SemaphoreTest, test::seeds<int>(0, 16), test::kSeedName);
INSTANTIATE_TEST_SUITE_P(Seeds, MutexTest, test::seeds<int>(0, 16), test::kSeedName);
INSTANTIATE_TEST_SUITE_P(Seeds, ConditionTest, test::seeds<int>(0, 16), test::kSeedName);
INSTANTIATE_TEST_SUITE_P(Seeds, WaitGroupTest, test::seeds<int>(0, 16), test::kSeedName);

}  // namespace
}  // namespace heddle
