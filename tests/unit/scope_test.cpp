// Scopes and tasks: results and exceptions reach who joins, and nothing outlives
// its scope.
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
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

using std::chrono::hours;
using std::chrono::seconds;
using test::settle;

// Parks for ever, until cancelled.
void hang() {
  EXPECT_EQ(this_fiber::sleep_until(Deadline::never()).error().code, Errc::kCancelled);
}

std::string thrown_by(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& thrown) {
    return thrown.what();
  }
  return "nothing";
}

// The parameter is the seed of the schedule.
class ScopeTest : public testing::TestWithParam<int> {
 protected:
  sim::World world{static_cast<std::uint64_t>(GetParam())};
};
class TaskTest : public ScopeTest {};

TEST_P(TaskTest, JoinReturnsWhatTheEntryReturned) {
  world.run([] {
    scope([](Scope& fibers) {
      auto number = fibers.spawn("number", [] { return 7; });
      auto only_movable = fibers.spawn("pointer", [] { return std::make_unique<int>(8); });
      auto nothing = fibers.spawn("nothing", [] { settle(); });
      ASSERT_TRUE(number && only_movable && nothing);
      EXPECT_EQ(number->join().value(), 7);
      EXPECT_EQ(*only_movable->join().value(), 8);
      EXPECT_TRUE(nothing->join());
      EXPECT_TRUE(nothing->finished());
    });
  });
}

TEST_P(TaskTest, EntryThatReturnsAResultIsJoinedAsThatResult) {
  world.run([] {
    scope([](Scope& fibers) {
      auto good = fibers.spawn("good", []() -> Result<int> { return 7; });
      auto bad = fibers.spawn("bad", []() -> Result<int> {
        return Error{.code = Errc::kProtocol, .operation = "a test"};
      });
      auto empty = fibers.spawn("empty", []() -> Result<void> { return {}; });
      ASSERT_TRUE(good && bad && empty);
      Result<int> joined = good->join();
      EXPECT_EQ(std::move(joined).value(), 7);
      EXPECT_EQ(bad->join().error().code, Errc::kProtocol);
      EXPECT_TRUE(empty->join());
    });
  });
}

TEST_P(TaskTest, JoinThrowsWhatTheEntryThrewAndTheScopeDoesNotThrowItAgain) {
  world.run([] {
    scope([](Scope& fibers) {
      auto task = fibers.spawn("bad", [] { throw std::runtime_error("boom"); });
      ASSERT_TRUE(task) << task.error().message();
      EXPECT_EQ(thrown_by([&] { (void)task->join(); }), "boom");
      EXPECT_TRUE(task->finished());
    });
  });
}

TEST_P(TaskTest, JoinThatTimedOutOrWasCancelledMayBeRepeated) {
  world.run([] {
    scope([](Scope& fibers) {
      auto task = fibers.spawn("slow", [] {
        EXPECT_TRUE(this_fiber::sleep_until(this_fiber::after(seconds(10))));
        return 7;
      });
      ASSERT_TRUE(task) << task.error().message();
      const TimePoint start = this_fiber::now();
      EXPECT_EQ(task->join(this_fiber::after(seconds(3))).error().code, Errc::kTimedOut);
      EXPECT_EQ(this_fiber::now() - start, seconds(3));
      EXPECT_FALSE(task->finished());
      auto joiner =
          fibers.spawn("joiner", [&] { EXPECT_EQ(task->join().error().code, Errc::kCancelled); });
      ASSERT_TRUE(joiner) << joiner.error().message();
      settle();
      joiner->cancel();
      settle();
      EXPECT_EQ(task->join(this_fiber::after(hours(1))).value(), 7);
      EXPECT_EQ(this_fiber::now() - start, seconds(10));
    });
  });
}

TEST_P(TaskTest, SeveralFibersMayWaitForOneTask) {
  world.run([] {
    int joined = 0;
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("slow", [] { settle(); });
      ASSERT_TRUE(task) << task.error().message();
      for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(fibers.spawn("joiner", [&] { joined += task->join() ? 1 : 0; }));
      }
      settle();
      settle();
      EXPECT_EQ(joined, 3);
    });
  });
}

TEST_P(TaskTest, CancelReachesTheFiberWhereverItParks) {
  world.run([] {
    scope([](Scope& fibers) {
      auto task = fibers.spawn("victim", [] {
        hang();
        EXPECT_TRUE(this_fiber::cancelled());
        return 7;
      });
      ASSERT_TRUE(task) << task.error().message();
      settle();
      task->cancel();
      EXPECT_EQ(task->join().value(), 7);
      task->cancel();  // It has ended: nothing to do.
    });
  });
}

TEST_P(TaskTest, FiberCancelledWhileItYieldsIsToldAtOnce) {
  world.run([] {
    bool cancelled = false;
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("yielder", [&] {
        while (this_fiber::yield()) EXPECT_FALSE(cancelled);
      });
      ASSERT_TRUE(task) << task.error().message();
      for (int i = 0; i < 20; ++i) ASSERT_TRUE(this_fiber::yield());
      cancelled = true;
      task->cancel();
    });
  });
}

TEST_P(TaskTest, CapturesEndWithTheFiberThoughTheTaskLivesOn) {
  world.run([] {
    scope([](Scope& fibers) {
      auto captured = std::make_shared<int>(1);
      const std::weak_ptr<int> alive = captured;
      auto good = fibers.spawn("good", [captured] { return *captured; });
      auto bad = fibers.spawn("bad", [captured] { throw std::runtime_error("boom"); });
      ASSERT_TRUE(good && bad);
      captured.reset();
      settle();
      EXPECT_TRUE(good->finished() && bad->finished());
      EXPECT_TRUE(alive.expired());
      EXPECT_EQ(good->join().value(), 1);
      EXPECT_EQ(thrown_by([&] { (void)bad->join(); }), "boom");
    });
  });
}

TEST_P(TaskTest, DroppingATaskStopsNothingAndItsScopeStillJoinsIt) {
  world.run([] {
    bool done = false;
    std::weak_ptr<int> result;
    scope([&](Scope& fibers) {
      (void)fibers.spawn("dropped", [&] {
        EXPECT_TRUE(this_fiber::sleep_until(this_fiber::after(seconds(1))));
        done = true;
        auto value = std::make_shared<int>(7);
        result = value;
        return value;
      });
    });
    EXPECT_TRUE(done);
    EXPECT_TRUE(result.expired());  // Nobody can ask for it any more.
  });
}

TEST_P(ScopeTest, ReturnsWhatTheBodyReturnedOnceAllFibersHaveEnded) {
  world.run([] {
    int ended = 0;
    const auto returned = scope([&](Scope& fibers) {
      for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(fibers.spawn("child", [&, i] {
          EXPECT_TRUE(this_fiber::sleep_until(this_fiber::after(seconds(i))));
          ++ended;
        }));
      }
      EXPECT_EQ(fibers.size(), 5U);
      return std::make_unique<int>(7);
    });
    EXPECT_EQ(*returned, 7);
    EXPECT_EQ(ended, 5);
  });
}

TEST_P(ScopeTest, ThrowsAtItsEndWhatNobodyHasJoined) {
  world.run([] {
    bool sibling_finished = false;
    const auto throwing = [&] {
      scope([&](Scope& fibers) {
        ASSERT_TRUE(fibers.spawn("bad", [] { throw std::runtime_error("boom"); }));
        ASSERT_TRUE(fibers.spawn("good", [&] {
          // One bad connection does not end a server.
          EXPECT_TRUE(this_fiber::sleep_until(this_fiber::after(seconds(1))));
          sibling_finished = true;
        }));
      });
    };
    EXPECT_EQ(thrown_by(throwing), "boom");
    EXPECT_TRUE(sibling_finished);
    EXPECT_ANY_THROW((void)scope([](Scope& fibers) {
      EXPECT_TRUE(fibers.spawn("bad", [] { throw std::runtime_error("boom"); }));
      return 7;
    }));
  });
}

TEST_P(ScopeTest, ThrowsWhatNobodyHasJoinedThoughAnEarlierOneWas) {
  world.run([] {
    const auto throwing = [] {
      scope([](Scope& fibers) {
        auto first = fibers.spawn("first", [] { throw std::runtime_error("first"); });
        ASSERT_TRUE(first) << first.error().message();
        settle();
        ASSERT_TRUE(fibers.spawn("second", [] { throw std::runtime_error("second"); }));
        settle();
        EXPECT_EQ(thrown_by([&] { (void)first->join(); }), "first");
      });
    };
    EXPECT_EQ(thrown_by(throwing), "second");
  });
}

TEST_P(ScopeTest, ThrowsTheFirstOfSeveral) {
  world.run([] {
    const auto throwing = [] {
      scope([](Scope& fibers) {
        for (const char* const what : {"first", "second", "third"}) {
          ASSERT_TRUE(fibers.spawn("bad", [what] { throw std::runtime_error(what); }));
          settle();
        }
      });
    };
    EXPECT_EQ(thrown_by(throwing), "first");
  });
}

TEST_P(ScopeTest, BodyThatThrowsCancelsAndJoinsItsFibers) {
  world.run([] {
    int ended = 0;
    const auto throwing = [&] {
      scope([&](Scope& fibers) {
        for (int i = 0; i < 3; ++i) {
          ASSERT_TRUE(fibers.spawn("child", [&] {
            hang();
            ++ended;
          }));
        }
        ASSERT_TRUE(fibers.spawn("bad", [] { throw std::runtime_error("child"); }));
        settle();
        throw std::runtime_error("body");
      });
    };
    EXPECT_EQ(thrown_by(throwing), "body");
    EXPECT_EQ(ended, 3);
  });
}

TEST_P(ScopeTest, CancellingTheParentCancelsTheChildrenOfAllScopesInside) {
  world.run([] {
    int ended = 0;
    scope([&](Scope& outer) {
      auto parent = outer.spawn("parent", [&] {
        scope([&](Scope& middle) {
          ASSERT_TRUE(middle.spawn("child", [&] {
            scope([&](Scope& inner) {
              ASSERT_TRUE(inner.spawn("grandchild", [&] {
                hang();
                ++ended;
              }));
            });
            EXPECT_TRUE(this_fiber::cancelled());
            ++ended;
          }));
          ASSERT_TRUE(middle.spawn("other child", [&] {
            hang();
            ++ended;
          }));
        });
        EXPECT_TRUE(this_fiber::cancelled());
        ++ended;
      });
      ASSERT_TRUE(parent) << parent.error().message();
      settle();
      parent->cancel();
      settle();
      EXPECT_EQ(ended, 4);
      EXPECT_FALSE(this_fiber::cancelled());
    });
  });
}

TEST_P(ScopeTest, ScopeOfACancelledFiberCancelsItsFibersAtItsEnd) {
  world.run([] {
    scope([](Scope& outer) {
      auto parent = outer.spawn("parent", [] {
        hang();
        scope([](Scope& inner) { EXPECT_TRUE(inner.spawn("child", hang)); });
      });
      ASSERT_TRUE(parent) << parent.error().message();
      settle();
      parent->cancel();
    });
  });
}

TEST_P(ScopeTest, FiberSpawnedIntoACancelledScopeIsBornCancelled) {
  world.run([] {
    scope([](Scope& fibers) {
      fibers.cancel();
      ASSERT_TRUE(fibers.spawn("late", [] {
        EXPECT_TRUE(this_fiber::cancelled());
        hang();
      }));
      EXPECT_EQ(fibers.size(), 1U);
    });
  });
}

TEST_P(ScopeTest, CancellingReachesWhoeverIsLeftWhenOthersHaveEnded) {
  world.run([this] {
    int ended = 0;
    scope([&](Scope& fibers) {
      std::vector<Task<void>> tasks;
      for (int i = 0; i < 20; ++i) {
        auto task = fibers.spawn("child", [&] {
          hang();
          ++ended;
        });
        ASSERT_TRUE(task) << task.error().message();
        tasks.push_back(*std::move(task));
      }
      settle();
      for (int i = 0; i < 15; ++i) {
        tasks[world.below(tasks.size())].cancel();
        settle();
      }
      fibers.cancel();
      settle();
      EXPECT_EQ(ended, 20);
      EXPECT_EQ(fibers.size(), 0U);
    });
  });
}

// A server whose connections fail, and whose Tasks nobody keeps, must not remember them all.
TEST_P(ScopeTest, OfManyFailuresThatNobodyCanJoinOneIsKept) {
  struct Failure {
    std::shared_ptr<int> alive;
  };
  world.run([] {
    const auto alive = std::make_shared<int>(1);
    EXPECT_THROW(scope([&](Scope& fibers) {
                   for (int i = 0; i < 100; ++i) {
                     ASSERT_TRUE(fibers.spawn("bad", [&] { throw Failure{alive}; }));
                     settle();
                     EXPECT_LE(alive.use_count(), 3);
                   }
                 }),
                 Failure);
    EXPECT_EQ(alive.use_count(), 1);
  });
}

TEST_P(ScopeTest, CancellingEndsOnlyItsOwnFibers) {
  world.run([] {
    scope([](Scope& outer) {
      auto outsider = outer.spawn(
          "outsider", [] { return this_fiber::sleep_until(this_fiber::after(seconds(1))); });
      ASSERT_TRUE(outsider) << outsider.error().message();
      scope([](Scope& inner) {
        ASSERT_TRUE(inner.spawn("insider", hang));
        settle();
        inner.cancel();
        settle();
        EXPECT_EQ(inner.size(), 0U);
      });
      EXPECT_TRUE(outsider->join());
    });
  });
}

TEST_P(ScopeTest, FibersMaySpawnIntoTheirScopeWhenItsBodyIsOver) {
  world.run([&] {
    int ended = 0;
    std::function<void(Scope&, int)> grow = [&](Scope& fibers, int depth) {
      if (world.one_in(2)) settle();
      for (int i = 0; depth > 0 && i < 2; ++i) {
        ASSERT_TRUE(fibers.spawn("child", [&, depth] { grow(fibers, depth - 1); }));
      }
      ++ended;
    };
    scope([&](Scope& fibers) { ASSERT_TRUE(fibers.spawn("root", [&] { grow(fibers, 4); })); });
    EXPECT_EQ(ended, 31);
  });
}

TEST_P(ScopeTest, SpawnFailsWhenNoStackCanBeMappedAndTheScopeGoesOn) {
  world.run([] {
    scope([](Scope& fibers) {
      const auto captured = std::make_shared<int>(1);
      errno = 0;
      const auto failed = fibers.spawn({.name = "huge", .stack_bytes = std::size_t{1} << 50},
                                       [captured] { ADD_FAILURE(); });
      ASSERT_FALSE(failed);
      EXPECT_EQ(failed.error().code, Errc::kExhausted) << failed.error().message();
      EXPECT_EQ(failed.error().sys_errno, ENOMEM);
      EXPECT_EQ(captured.use_count(), 1);
      EXPECT_EQ(fibers.size(), 0U);
      auto next = fibers.spawn("next", [] { return 7; });
      ASSERT_TRUE(next) << next.error().message();
      EXPECT_EQ(next->join().value(), 7);
    });
  });
}

TEST_P(ScopeTest, StackOfAnyImpossibleSizeIsRefused) {
  world.run([] {
    scope([](Scope& fibers) {
      const auto failed =
          fibers.spawn(SpawnOptions{.name = "huge", .stack_bytes = SIZE_MAX}, [] {});
      ASSERT_FALSE(failed);
      EXPECT_EQ(failed.error().code, Errc::kExhausted) << failed.error().message();
    });
  });
}

TEST_P(ScopeTest, ExceptionThatLeavesAFiberOutsideAnyScopeIsThrownUnlessJoined) {
  auto first = world.spawn("first", [] { throw std::runtime_error("first"); });
  world.spawn("second", [&] {
    settle();
    throw std::runtime_error("second");
  });
  world.spawn("joiner", [&] {
    settle();
    settle();
    EXPECT_TRUE(detail::join(*first, Deadline::never()));
    first->escaped = nullptr;  // As Task::join() does.
  });
  EXPECT_EQ(thrown_by([this] { world.run(); }), "second");
}

TEST(ScopeDeathTest, FiberThatJoinsItselfAborts) {
  EXPECT_DEATH(
      {
        sim::World world(1);
        world.run([] {
          scope([](Scope& fibers) {
            std::optional<Task<void>> self;
            auto task = fibers.spawn("narcissus", [&] {
              settle();
              (void)self->join();
            });
            self.emplace(*std::move(task));
            (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
          });
        });
      },
      "Task::join\\(\\) of the fiber that calls it.* \\(in fiber 'narcissus'\\)");
}

INSTANTIATE_TEST_SUITE_P(Seeds, TaskTest, test::seeds<int>(0, 16), test::kSeedName);
INSTANTIATE_TEST_SUITE_P(Seeds, ScopeTest, test::seeds<int>(0, 16), test::kSeedName);

}  // namespace
}  // namespace heddle
