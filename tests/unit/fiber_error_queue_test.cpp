// Each fiber has its own error queue: the scheduler exchanges them at its switches.
#include <gtest/gtest.h>
#include <openssl/err.h>

#include "heddle/fiber.h"

#include "support/numbered_entries.h"
#include "support/seeds.h"
#include "support/sim.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using test::numbers;
using test::raise_numbers;
using test::take_all_numbers;

// The parameter is the seed of the schedule.
class FiberErrorQueueTest : public testing::TestWithParam<int> {
 protected:
  FiberErrorQueueTest() { ERR_clear_error(); }
  ~FiberErrorQueueTest() override { ERR_clear_error(); }

  static std::uint64_t seed() { return static_cast<std::uint64_t>(GetParam()); }
  static void pause(sim::World& world) {
    (void)this_fiber::sleep_until(world.after(world.up_to(milliseconds(1))));
  }
};

TEST_P(FiberErrorQueueTest, EachFiberFindsExactlyItsOwnEntriesAndMarks) {
  sim::World world(seed());
  for (int fiber = 0; fiber < 5; ++fiber) {
    const int first = 100 * (fiber + 1);
    world.spawn("leaves entries", [&world, first] {
      for (int round = 0; round < 5; ++round) {
        raise_numbers(first, first + 2);
        pause(world);
        ERR_set_mark();
        pause(world);
        raise_numbers(first + 2, first + 5);
        pause(world);
        EXPECT_EQ(ERR_pop_to_mark(), 1);
        (void)this_fiber::yield();
        EXPECT_EQ(take_all_numbers(), numbers(first, first + 2));
        pause(world);
        EXPECT_EQ(ERR_peek_error(), 0U);
      }
    });
  }
  world.run();
  EXPECT_GT(world.scheduler().exchanges(), 0U);
}

TEST_P(FiberErrorQueueTest, FiberThatEndsTakesItsEntriesAlong) {
  sim::World world(seed());
  for (int i = 0; i < 10; ++i) {
    world.spawn("leaver", [] {
      EXPECT_EQ(ERR_peek_error(), 0U);
      raise_numbers(1, 4);
      ERR_set_mark();
    });
  }
  world.run();
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST_P(FiberErrorQueueTest, ThreadFindsItsOwnEntriesAgainAfterRun) {
  raise_numbers(1, 3);
  ERR_set_mark();
  raise_numbers(3, 4);
  sim::World world(seed());
  world.run([] {
    EXPECT_EQ(ERR_peek_error(), 0U);
    raise_numbers(5, 8);
    (void)this_fiber::yield();
    EXPECT_EQ(take_all_numbers(), numbers(5, 8));
  });
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(take_all_numbers(), numbers(1, 3));
}

TEST_P(FiberErrorQueueTest, CleanQueuesAreNotExchanged) {
  sim::World world(seed());
  for (int i = 0; i < 5; ++i) {
    world.spawn("clean", [&world] {
      for (int round = 0; round < 5; ++round) pause(world);
    });
  }
  world.run();
  EXPECT_GT(world.scheduler().switches(), 10U);
  EXPECT_EQ(world.scheduler().exchanges(), 0U);
}

TEST_P(FiberErrorQueueTest, WithoutIsolationOneFiberFindsWhatAnotherLeft) {
  for (const Isolation isolation : {Isolation::kShared, Isolation::kClear}) {
    sim::World world(seed(), isolation);
    world.spawn("leaver", [] {
      raise_numbers(7, 8);
      ERR_set_mark();
      (void)this_fiber::sleep_until(this_fiber::after(milliseconds(2)));
      EXPECT_EQ(ERR_peek_error(), 0U);
    });
    world.spawn("victim", [] {
      (void)this_fiber::sleep_until(this_fiber::after(milliseconds(1)));
      EXPECT_EQ(ERR_pop_to_mark(), 1);
      EXPECT_EQ(take_all_numbers(), numbers(7, 8));
    });
    world.run();
    EXPECT_EQ(world.scheduler().exchanges(), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, FiberErrorQueueTest, test::seeds<int>(0, 16), test::kSeedName);

}  // namespace
}  // namespace heddle
