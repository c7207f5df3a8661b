// Channels: bounded, in order, and nothing is lost however they end.
#include "heddle/channel.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"

#include "support/seeds.h"
#include "support/settle.h"
#include "support/sim.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::settle;

// The parameter is the seed of the schedule.
class ChannelTest : public testing::TestWithParam<int> {
 protected:
  static std::uint64_t seed() { return static_cast<std::uint64_t>(GetParam()); }
};

TEST_P(ChannelTest, HandsOverInOrderAndHoldsAtMostItsCapacity) {
  sim::World world(seed());
  world.run([&] {
    Channel<int> channel(3);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("producer", [&] {
        for (int i = 0; i < 100; ++i) {
          EXPECT_TRUE(channel.push(i));
          EXPECT_LE(channel.size(), 3U);
        }
        channel.close();
      }));
      int expected = 0;
      for (;;) {
        const auto got = channel.pop();
        ASSERT_TRUE(got) << got.error().message();
        if (!*got) break;
        EXPECT_EQ(**got, expected++);
        if (world.one_in(4)) settle();
      }
      EXPECT_EQ(expected, 100);
    });
  });
}

TEST_P(ChannelTest, FullChannelMakesProducersWaitFirstComeFirstServed) {
  sim::World world(seed());
  world.run([] {
    Channel<int> channel(1);
    scope([&](Scope& fibers) {
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(fibers.spawn("producer", [&, i] { EXPECT_TRUE(channel.push(i)); }));
        settle();
      }
      EXPECT_EQ(channel.size(), 1U);
      for (int i = 0; i < 5; ++i) EXPECT_EQ(channel.pop().value(), i);
    });
  });
}

TEST_P(ChannelTest, ProducersThatWaitFailWhenItIsClosed) {
  sim::World world(seed());
  world.run([] {
    Channel<int> channel(2);
    ASSERT_TRUE(channel.push(1));
    ASSERT_TRUE(channel.push(2));
    int refused = 0;
    scope([&](Scope& fibers) {
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(fibers.spawn("producer", [&] {
          EXPECT_EQ(channel.push(3).error().code, Errc::kDisconnected);
          ++refused;
        }));
      }
      settle();
      channel.close();
      channel.close();  // Once is enough.
      settle();
      EXPECT_EQ(refused, 5);
    });
    EXPECT_TRUE(channel.closed());
    EXPECT_EQ(channel.push(4).error().code, Errc::kDisconnected);
    EXPECT_EQ(channel.pop().value(), 1);
    EXPECT_EQ(channel.pop().value(), 2);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(channel.pop().value(), std::nullopt);
    EXPECT_EQ(channel.push(5).error().code, Errc::kDisconnected);
  });
}

TEST_P(ChannelTest, ConsumersThatWaitGetNothingWhenItIsClosed) {
  sim::World world(seed());
  world.run([] {
    Channel<std::unique_ptr<int>> channel(1);
    int ended = 0;
    scope([&](Scope& fibers) {
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(fibers.spawn("consumer", [&] {
          EXPECT_EQ(channel.pop().value(), std::nullopt);
          ++ended;
        }));
      }
      settle();
      channel.close();
    });
    EXPECT_EQ(ended, 5);
  });
}

// The value is pushed and the channel closed before any consumer has run.
TEST_P(ChannelTest, ValuePushedRightBeforeTheEndReachesExactlyOneConsumer) {
  sim::World world(seed());
  world.run([] {
    Channel<int> channel(4);
    int got = 0;
    scope([&](Scope& fibers) {
      for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(fibers.spawn("consumer", [&] { got += channel.pop().value() ? 1 : 0; }));
      }
      settle();
      ASSERT_TRUE(channel.push(7));
      channel.close();
    });
    EXPECT_EQ(got, 1);
    EXPECT_EQ(channel.size(), 0U);
  });
}

// Values that cannot be copied: what is gone, is gone.
TEST_P(ChannelTest, ValueThatCannotBePushedIsStillTheCallers) {
  sim::World world(seed());
  world.run([] {
    Channel<std::unique_ptr<int>> channel(1);
    auto first = std::make_unique<int>(1);
    auto second = std::make_unique<int>(2);
    ASSERT_TRUE(channel.push(std::move(first)));
    EXPECT_EQ(first, nullptr);
    EXPECT_EQ(channel.push(std::move(second), this_fiber::after(seconds(1))).error().code,
              Errc::kTimedOut);
    EXPECT_NE(second, nullptr);
    EXPECT_EQ(channel.try_push(std::move(second)).error().code, Errc::kExhausted);
    EXPECT_NE(second, nullptr);
    channel.close();
    EXPECT_EQ(channel.push(std::move(second)).error().code, Errc::kDisconnected);
    EXPECT_EQ(channel.try_push(std::move(second)).error().code, Errc::kDisconnected);
    EXPECT_NE(second, nullptr);
    EXPECT_EQ(**channel.try_pop(), 1);
    EXPECT_EQ(channel.try_pop(), std::nullopt);
    EXPECT_EQ(channel.pop().value(), std::nullopt) << "the end is still there";
  });
}

TEST_P(ChannelTest, TryPushAndTryPopTakeTheirTurnAfterThoseThatWait) {
  sim::World world(seed());
  world.run([] {
    Channel<int> channel(1);
    std::optional<int> got;
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("consumer", [&] { got = channel.pop().value(); }));
      settle();
      ASSERT_TRUE(channel.try_push(1));
      EXPECT_EQ(channel.try_pop(), std::nullopt) << "it is the consumer's";
    });
    EXPECT_EQ(got, 1);
    ASSERT_TRUE(channel.try_push(2));
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("producer", [&] { EXPECT_TRUE(channel.push(3)); }));
      settle();
      EXPECT_EQ(channel.try_pop(), 2);
      EXPECT_EQ(channel.try_push(4).error().code, Errc::kExhausted) << "the room is the producer's";
    });
    EXPECT_EQ(channel.try_pop(), 3);
    EXPECT_EQ(channel.try_pop(), std::nullopt);
  });
}

TEST_P(ChannelTest, PushAndPopFailAtTheDeadlineAndWhenCancelled) {
  sim::World world(seed());
  world.run([] {
    Channel<int> channel(1);
    EXPECT_EQ(channel.pop(this_fiber::after(seconds(1))).error().code, Errc::kTimedOut);
    ASSERT_TRUE(channel.push(1));
    EXPECT_EQ(channel.push(2, this_fiber::after(seconds(1))).error().code, Errc::kTimedOut);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("producer",
                               [&] { EXPECT_EQ(channel.push(3).error().code, Errc::kCancelled); }));
      settle();
      fibers.cancel();
    });
    EXPECT_EQ(channel.pop(Deadline::at(TimePoint::min())).value(), 1);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("consumer",
                               [&] { EXPECT_EQ(channel.pop().error().code, Errc::kCancelled); }));
      settle();
      fibers.cancel();
    });
    // What failed has taken nothing and left nothing behind.
    EXPECT_TRUE(channel.push(4, Deadline::at(TimePoint::min())));
    EXPECT_EQ(channel.pop(Deadline::at(TimePoint::min())).value(), 4);
  });
}

TEST_P(ChannelTest, WithoutCapacityPushWaitsUntilTheValueIsTaken) {
  sim::World world(seed());
  world.run([] {
    Channel<std::unique_ptr<int>> channel(0);
    EXPECT_EQ(channel.try_push(std::make_unique<int>(0)).error().code, Errc::kExhausted);
    EXPECT_EQ(channel.try_pop(), std::nullopt);
    auto kept = std::make_unique<int>(1);
    EXPECT_EQ(channel.push(std::move(kept), this_fiber::after(seconds(1))).error().code,
              Errc::kTimedOut);
    ASSERT_NE(kept, nullptr);
    EXPECT_EQ(channel.try_pop(), std::nullopt) << "the producer has left";
    scope([&](Scope& fibers) {
      const auto producer =
          fibers.spawn("producer", [&] { EXPECT_TRUE(channel.push(std::move(kept))); });
      ASSERT_TRUE(producer);
      settle();
      EXPECT_FALSE(producer->finished());
      EXPECT_EQ(channel.size(), 0U);
      EXPECT_EQ(**channel.try_pop(), 1);
      settle();
      EXPECT_TRUE(producer->finished());
      ASSERT_TRUE(fibers.spawn("consumer", [&] { EXPECT_EQ(**channel.pop().value(), 2); }));
      settle();
      EXPECT_TRUE(channel.try_push(std::make_unique<int>(2)));
    });
  });
}

// Between the moment at which the value is handed over and the one at which the fiber runs again.
TEST_P(ChannelTest, ValueThatWasHandedOverIsNotLostToADeadlineOrToCancelling) {
  sim::World world(seed());
  world.run([&] {
    for (const bool cancelled : {false, true}) {
      Channel<int> channel(0);
      scope([&](Scope& fibers) {
        auto consumer =
            fibers.spawn("consumer", [&] { return channel.pop(this_fiber::after(seconds(1))); });
        auto producer = fibers.spawn("producer", [&] {
          EXPECT_TRUE(this_fiber::sleep_until(this_fiber::after(milliseconds(1))));
          EXPECT_TRUE(channel.try_push(7));
          if (cancelled) consumer->cancel();
          world.pass(seconds(2));
        });
        ASSERT_TRUE(consumer && producer);
        EXPECT_EQ(consumer->join().value(), 7);
        consumer = fibers.spawn("taker", [&] {
          EXPECT_TRUE(this_fiber::sleep_until(this_fiber::after(milliseconds(1))));
          auto got = channel.try_pop();
          world.pass(seconds(2));
          return Result<std::optional<int>>(got);
        });
        EXPECT_TRUE(channel.push(8, this_fiber::after(seconds(1))));
        EXPECT_EQ(consumer->join().value(), 8);
      });
    }
  });
}

TEST(ChannelDeathTest, PushAndPopOutsideFibersNameTheCallAndWhatToDo) {
  Channel<int> channel(1);
  EXPECT_DEATH((void)channel.push(1),
               R"(Channel::push\(\) outside any fiber, on a thread on which no runtime runs: call )"
               R"(try_push\(\), which never waits)");
  const auto pop_in_posted_work = [&] {
    auto runtime = Runtime::create().value();
    runtime.post([&] { (void)channel.pop(); });
    runtime.run();
  };
  EXPECT_DEATH(pop_in_posted_work(),
               R"(Channel::pop\(\) outside any fiber, in work that was posted to a runtime: call )"
               R"(try_pop\(\), which never waits)");
}

TEST(ChannelPostTest, PostedWorkPushesAndTakesWithoutWaiting) {
  auto runtime = Runtime::create().value();
  Channel<int> channel(1);
  std::optional<int> got;
  ASSERT_TRUE(runtime.spawn("consumer", [&] {
    got = channel.pop().value();
    runtime.post([&] { EXPECT_TRUE(channel.try_push(3)); });
    EXPECT_EQ(channel.pop().value(), 3);
  }));
  runtime.post([&] {
    EXPECT_TRUE(channel.try_push(1));
    EXPECT_EQ(channel.try_push(2).error().code, Errc::kExhausted);
  });
  runtime.run();
  EXPECT_EQ(got, 1);
}

struct Item {
  int producer;
  int number;
};

// Random producers and consumers, with deadlines and cancelling: a value that push()
// accepted arrives exactly once, each producer's in order at each consumer; one it refused never
// does.
class ChannelRun {
 public:
  explicit ChannelRun(sim::World& world) : world_(world), channel_(world.below(4)) {}

  void run() {
    scope([&](Scope& consumers) {
      for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(consumers.spawn("consumer", [this] { consume(); }));
      }
      scope([&](Scope& producers) {
        for (int i = 0; i < 5; ++i) {
          auto task = producers.spawn("producer", [this, i] { produce(i); });
          ASSERT_TRUE(task) << task.error().message();
          if (world_.one_in(3)) {
            pause();
            task->cancel();
          }
        }
      });
      channel_.close();
    });
    for (auto& [producer, numbers] : received_) std::sort(numbers.begin(), numbers.end());
    EXPECT_EQ(received_, accepted_);
  }

 private:
  void pause() { (void)this_fiber::sleep_until(world_.after(milliseconds(world_.below(3)))); }

  Deadline patience() {
    return world_.one_in(2) ? Deadline::never() : world_.after(milliseconds(world_.below(3)));
  }

  void produce(int producer) {
    for (int i = 0; i < 40; ++i) {
      if (channel_.push({producer, i}, patience())) accepted_[producer].push_back(i);
      if (world_.one_in(3)) pause();
    }
  }

  void consume() {
    std::map<int, int> mine;  // The last one of each producer.
    for (;;) {
      const auto got = channel_.pop(patience());
      if (!got) {
        EXPECT_EQ(got.error().code, Errc::kTimedOut);
        continue;
      }
      if (!*got) return;
      // Of several consumers one that has been given a value may run after one that took the next.
      EXPECT_TRUE(mine.find((*got)->producer) == mine.end() ||
                  mine[(*got)->producer] < (*got)->number);
      mine[(*got)->producer] = (*got)->number;
      received_[(*got)->producer].push_back((*got)->number);
      if (world_.one_in(3)) pause();
    }
  }

  sim::World& world_;
  Channel<Item> channel_;
  std::map<int, std::vector<int>> accepted_;
  std::map<int, std::vector<int>> received_;
};

TEST_P(ChannelTest, EveryValueArrivesExactlyOnce) {
  sim::World world(seed());
  world.run([&] { ChannelRun(world).run(); });
}

INSTANTIATE_TEST_SUITE_P(Seeds, ChannelTest, test::seeds<int>(0, 64), test::kSeedName);

}  // namespace
}  // namespace heddle
