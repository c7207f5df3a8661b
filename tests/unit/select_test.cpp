// select(): exactly one of several things happens, and nothing is lost when none does.
#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/channel.h"
#include "heddle/fiber.h"

#include "support/seeds.h"
#include "support/settle.h"
#include "support/sim.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::settle;

// The parameter is the seed of the schedule.
class SelectTest : public testing::TestWithParam<int> {
 protected:
  sim::World world{static_cast<std::uint64_t>(GetParam())};
};

TEST_P(SelectTest, OrderIsPriorityAndOnlyOneIsDone) {
  world.run([] {
    Channel<int> numbers(2);
    Channel<std::string> words(2);
    ASSERT_TRUE(numbers.push(1));
    ASSERT_TRUE(words.push("one"));
    std::optional<int> number;
    std::optional<std::string> word;
    EXPECT_EQ(select({words.popping(word), numbers.popping(number)}).value(), 0U);
    EXPECT_EQ(word, "one");
    EXPECT_EQ(number, std::nullopt);
    EXPECT_EQ(select({words.popping(word), numbers.popping(number)}).value(), 1U);
    EXPECT_EQ(word, std::nullopt);
    EXPECT_EQ(number, 1);
  });
}

TEST_P(SelectTest, WaitsForTheFirstOfAll) {
  world.run([] {
    Channel<int> in(0);
    Channel<std::unique_ptr<int>> out(0);
    auto mine = std::make_unique<int>(5);
    std::optional<int> got;
    scope([&](Scope& fibers) {
      auto which = fibers.spawn("select", [&] {
        return select({in.popping(got), out.pushing(mine)}, this_fiber::after(seconds(9)));
      });
      ASSERT_TRUE(which);
      settle();
      EXPECT_FALSE(which->finished());
      EXPECT_EQ(**out.try_pop(), 5);
      EXPECT_EQ(in.try_push(3).error().code, Errc::kExhausted) << "it has what it waited for";
      EXPECT_EQ(which->join().value(), 1U);
      EXPECT_EQ(mine, nullptr);
      EXPECT_EQ(got, std::nullopt);
    });
  });
}

TEST_P(SelectTest, NothingIsMovedAtTheDeadlineOrWhenCancelled) {
  world.run([] {
    Channel<std::unique_ptr<int>> full(0);
    Channel<int> empty(1);
    auto mine = std::make_unique<int>(5);
    std::optional<int> got;
    const auto wait = [&](Deadline deadline) {
      return select({empty.popping(got), full.pushing(mine)}, deadline);
    };
    EXPECT_EQ(wait(this_fiber::after(seconds(1))).error().code, Errc::kTimedOut);
    EXPECT_EQ(select({}, this_fiber::after(seconds(1))).error().code, Errc::kTimedOut);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn(
          "select", [&] { EXPECT_EQ(wait(Deadline::never()).error().code, Errc::kCancelled); }));
      settle();
      fibers.cancel();
    });
    EXPECT_NE(mine, nullptr);
    EXPECT_EQ(full.try_pop(), std::nullopt);
    EXPECT_TRUE(empty.try_push(1));
    EXPECT_EQ(empty.size(), 1U) << "nobody waits any more";
  });
}

TEST_P(SelectTest, ClosedChannelGivesNothingAndTakesNothing) {
  world.run([] {
    for (const bool waits : {false, true}) {
      Channel<int> first(0);
      Channel<int> second(0);
      std::optional<int> got(1);
      int mine = 2;
      scope([&](Scope& fibers) {
        auto taker = fibers.spawn("taker", [&] {
          return select({second.popping(got), first.popping(got)});
        });
        auto giver = fibers.spawn("giver", [&] { return select({first.pushing(mine)}); });
        ASSERT_TRUE(taker && giver);
        EXPECT_EQ(taker->join().value(), 1U);
        EXPECT_TRUE(giver->join());
        EXPECT_EQ(got, 2);
        if (!waits) first.close();
        taker = fibers.spawn("taker", [&] {
          return select({second.popping(got), first.popping(got)});
        });
        if (waits) settle();
        first.close();
        EXPECT_EQ(taker->join().value(), 1U);
        EXPECT_EQ(got, std::nullopt);
        EXPECT_EQ(select({second.popping(got), first.pushing(mine)}).error().code,
                  Errc::kDisconnected);
        giver = fibers.spawn("giver", [&] { return select({second.pushing(mine)}); });
        settle();
        second.close();
        EXPECT_EQ(giver->join().error().code, Errc::kDisconnected);
      });
    }
  });
}

// A fiber that gives and takes at once: two of them exchange, one alone does not serve itself.
TEST_P(SelectTest, FiberDoesNotTakeItsOwnValue) {
  world.run([] {
    Channel<int> channel(0);
    const auto exchange = [&](int mine) {
      std::optional<int> got;
      const auto done =
          select({channel.popping(got), channel.pushing(mine)}, this_fiber::after(seconds(1)));
      return done ? got.value_or(0) : -1;
    };
    EXPECT_EQ(exchange(1), -1);
    scope([&](Scope& fibers) {
      auto one = fibers.spawn("one", [&] { return exchange(1); });
      auto two = fibers.spawn("two", [&] { return exchange(2); });
      ASSERT_TRUE(one && two);
      const int sum = one->join().value() + two->join().value();
      EXPECT_TRUE(sum == 1 || sum == 2) << "one gives, and the other gets that";
    });
  });
}

// Random fibers that give to any and take from any of three channels, with deadlines and
// cancelling: a value arrives exactly once if select() said that it was pushed, else never.
class SelectRun {
 public:
  explicit SelectRun(sim::World& world) : world_(world) {}

  void run() {
    scope([&](Scope& consumers) {
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(consumers.spawn("consumer", [this] { consume(); }));
      scope([&](Scope& producers) {
        for (int i = 0; i < 4; ++i) {
          auto task = producers.spawn("producer", [this, i] { produce(i * 1000); });
          ASSERT_TRUE(task);
          if (world_.one_in(3)) {
            pause();
            task->cancel();
          }
        }
      });
      for (auto& channel : channels_) channel->close();
    });
    EXPECT_EQ(received_, accepted_);
  }

 private:
  void pause() { (void)this_fiber::sleep_until(world_.after(milliseconds(world_.below(3)))); }
  Deadline patience() {
    return world_.one_in(2) ? Deadline::never() : world_.after(milliseconds(world_.below(3)));
  }

  void produce(int first) {
    for (int i = first; i < first + 40; ++i) {
      std::array<int, 3> values{i, i, i};
      const auto done = select({channels_[2]->pushing(values[2]), channels_[0]->pushing(values[0]),
                                channels_[1]->pushing(values[1])},
                               patience());
      if (done) ++accepted_[i];
      if (world_.one_in(3)) pause();
    }
  }

  void consume() {
    std::array<bool, 3> open{true, true, true};
    while (open[0] || open[1] || open[2]) {
      std::array<std::optional<int>, 3> got;
      std::vector<SelectCase> cases;
      std::vector<std::size_t> index;
      for (std::size_t i = 0; i < 3; ++i) {
        if (!open.at(i)) continue;
        cases.push_back(channels_.at(i)->popping(got.at(i)));
        index.push_back(i);
      }
      const auto done = select(cases, patience());
      if (!done) continue;
      const std::size_t which = index.at(*done);
      for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(i == which || !got.at(i));
      if (got.at(which)) ++received_[*got.at(which)];
      if (!got.at(which)) open.at(which) = false;
    }
  }

  sim::World& world_;
  std::array<std::unique_ptr<Channel<int>>, 3> channels_{std::make_unique<Channel<int>>(0),
                                                         std::make_unique<Channel<int>>(1),
                                                         std::make_unique<Channel<int>>(3)};
  std::map<int, int> accepted_;
  std::map<int, int> received_;
};

TEST_P(SelectTest, EveryValueArrivesExactlyOnce) {
  world.run([&] { SelectRun(world).run(); });
}

INSTANTIATE_TEST_SUITE_P(Seeds, SelectTest, test::seeds<int>(0, 64), test::kSeedName);

}  // namespace
}  // namespace heddle
