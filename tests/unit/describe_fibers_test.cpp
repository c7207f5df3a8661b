// A dump says of each fiber what it does, for what it waits and how long yet.
#include <chrono>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/channel.h"
#include "heddle/fiber.h"
#include "heddle/sync.h"

#include "support/seeds.h"
#include "support/sim.h"

namespace heddle {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

// The parameter is the seed of the schedule.
class DescribeFibersTest : public testing::TestWithParam<int> {
 protected:
  // All that live, a second after they were spawned, by a fiber that is one of them.
  std::vector<std::string> lines() {
    (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
    std::vector<std::string> all;
    for (const FiberInfo& fiber : world.scheduler().describe_fibers()) {
      all.push_back(to_string(fiber));
    }
    return all;
  }

  sim::World world{static_cast<std::uint64_t>(GetParam())};
};

TEST_P(DescribeFibersTest, EachPrimitiveIsNamedWithTheTimeThatIsLeft) {
  world.run([&] {
    Semaphore none(0);
    Mutex mutex;
    WaitGroup group;
    group.add();
    Channel<int> channel(1);
    auto held = mutex.lock().value();
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("semaphore", [&] { (void)none.acquire(); }));
      ASSERT_TRUE(fibers.spawn("mutex", [&] { (void)mutex.lock(this_fiber::after(hours(1))); }));
      ASSERT_TRUE(fibers.spawn("group", [&] { (void)group.wait(); }));
      ASSERT_TRUE(fibers.spawn("channel", [&] { (void)channel.pop(); }));
      ASSERT_TRUE(fibers.spawn(
          "time", [&] { (void)this_fiber::sleep_until(this_fiber::after(milliseconds(1500))); }));
      EXPECT_EQ(lines(), (std::vector<std::string>{
                             "#1 'main', 1.000 s old, running",
                             "#2 'semaphore', 1.000 s old, waits for a semaphore",
                             "#3 'mutex', 1.000 s old, waits for a mutex, 3599.000 s left",
                             "#4 'group', 1.000 s old, waits for a group",
                             "#5 'channel', 1.000 s old, waits for a channel",
                             "#6 'time', 1.000 s old, waits for a time, 0.500 s left",
                         }));
      fibers.cancel();
    });
  });
}

TEST_P(DescribeFibersTest, ThoseThatCanRunAndThoseThatAreCancelledAreToldApart) {
  world.run([&] {
    Mutex mutex;
    auto held = mutex.lock().value();
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("shielded",
                               [&] { this_fiber::shielded([&] { EXPECT_TRUE(mutex.lock()); }); }));
      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
      fibers.cancel();
      ASSERT_TRUE(fibers.spawn("new", [] {}));
      std::vector<FiberInfo> all = world.scheduler().describe_fibers();
      ASSERT_EQ(all.size(), 3U);
      EXPECT_EQ(to_string(all[1]), "#2 'shielded', 1.000 s old, cancelled, waits for a mutex");
      EXPECT_EQ(to_string(all[2]), "#3 'new', 0.000 s old, cancelled, ready");
      { const auto ended = std::move(held); }
    });
    EXPECT_EQ(world.scheduler().describe_fibers().size(), 1U);
  });
}

TEST_P(DescribeFibersTest, JoiningIsAWaitToo) {
  world.run([&] {
    std::vector<FiberInfo> seen;
    scope([&](Scope& outer) {
      ASSERT_TRUE(outer.spawn("parent", [&] {
        scope([&](Scope& inner) {
          ASSERT_TRUE(inner.spawn("child", [&] {
            (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
            seen = world.scheduler().describe_fibers();
          }));
        });
      }));
    });
    ASSERT_EQ(seen.size(), 3U);
    EXPECT_EQ(seen[0].purpose, "to join the fibers of its scope");
    EXPECT_EQ(seen[1].purpose, "to join the fibers of its scope");
    EXPECT_EQ(seen[2].state, FiberInfo::State::kRunning);
    EXPECT_TRUE(seen[2].purpose.empty());
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, DescribeFibersTest, test::seeds<int>(0, 8), test::kSeedName);

}  // namespace
}  // namespace heddle
