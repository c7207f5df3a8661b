// The timer queue against a model that is obviously right.
#include "fiber/timer_queue.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "fiber/fiber.h"
#include "support/seeds.h"

namespace heddle::fiber {
namespace {

TimePoint at(std::int64_t when) {
  return TimePoint(Duration(when));
}

// The parameter is the seed of the operations.
class TimerQueueTest : public testing::TestWithParam<int> {
 protected:
  static constexpr std::size_t kFibers = 40;

  // As Scheduler::park() does.
  void park(std::size_t index, std::int64_t when) {
    wake(index);
    fibers_[index].deadline = Deadline::at(at(when));
    queue_.arm(fibers_[index], fibers_[index].deadline);
    model_.emplace(when, index);
  }

  // As Scheduler::make_ready() does: the queue is not told.
  void wake(std::size_t index) {
    fibers_[index].deadline = Deadline::never();
    std::erase_if(model_, [index](const auto& entry) { return entry.second == index; });
  }

  void end(std::size_t index) {
    wake(index);
    queue_.remove(fibers_[index]);
    EXPECT_EQ(fibers_[index].timer_index, Fiber::kNoTimer);
  }

  std::size_t index_of(const Fiber* fiber) const {
    return static_cast<std::size_t>(fiber - fibers_.data());
  }

  // What comes due must be exactly what the model says, each once.
  void expect_due(std::int64_t now) {
    std::vector<std::size_t> due;
    while (const Fiber* const fiber = queue_.pop_due(at(now))) {
      EXPECT_LE(fiber->deadline.time(), at(now));
      due.push_back(index_of(fiber));
      fibers_[due.back()].deadline = Deadline::never();
    }
    std::vector<std::size_t> expected;
    for (const auto& [when, index] : model_) {
      if (when <= now) expected.push_back(index);
    }
    std::erase_if(model_, [now](const auto& entry) { return entry.first <= now; });
    std::sort(due.begin(), due.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(due, expected);
    EXPECT_TRUE(queue_.next().is_never() || queue_.next().time() > at(now));
  }

  void expect_not_late() const {
    if (!model_.empty()) {
      EXPECT_LE(queue_.next(), Deadline::at(at(model_.begin()->first)));
    }
  }

  std::array<Fiber, kFibers> fibers_;
  TimerQueue queue_;
  std::multimap<std::int64_t, std::size_t> model_;  // Deadline to fiber.
};

TEST_P(TimerQueueTest, WhatComesDueIsWhatTheModelSays) {
  std::mt19937_64 prng(static_cast<std::uint64_t>(GetParam()));
  const auto below = [&prng](std::size_t count) {
    return static_cast<std::size_t>(prng() % count);
  };
  std::int64_t now = 0;
  for (int step = 0; step < 4000; ++step) {
    const std::size_t index = below(kFibers);
    switch (below(8)) {
      case 0:
      case 1:
      case 2:
        // Also in the past, and often at the same time as another.
        park(index, now - 5 + static_cast<std::int64_t>(below(100)));
        break;
      case 3:
        park(index, now + 200);  // The usual: a deadline that moves on.
        break;
      case 4:
        wake(index);
        break;
      case 5:
        end(index);
        break;
      default:
        now += static_cast<std::int64_t>(below(10));
        expect_due(now);
    }
    expect_not_late();
  }
  for (std::size_t i = 0; i < kFibers; ++i) end(i);
  EXPECT_TRUE(queue_.next().is_never());
  EXPECT_EQ(queue_.pop_due(TimePoint::max()), nullptr);
}

TEST_P(TimerQueueTest, EntriesComeDueInOrderWhenNoDeadlineHasMoved) {
  std::mt19937_64 prng(static_cast<std::uint64_t>(GetParam()));
  for (std::size_t i = 0; i < kFibers; ++i) park(i, static_cast<std::int64_t>(prng() % 50));
  TimePoint last = TimePoint::min();
  for (std::size_t i = 0; i < kFibers; ++i) {
    const Deadline next = queue_.next();
    const Fiber* const fiber = queue_.pop_due(at(50));
    ASSERT_NE(fiber, nullptr);
    EXPECT_EQ(fiber->deadline, next);
    EXPECT_GE(fiber->deadline.time(), last);
    last = fiber->deadline.time();
  }
  EXPECT_TRUE(queue_.next().is_never());
}

TEST_P(TimerQueueTest, FiberThatParksAgainAndAgainHasOneEntry) {
  // If each park() added one, the earlier ones would come due as well.
  for (int i = 0; i < 100; ++i) park(0, 1000 - i);
  EXPECT_EQ(queue_.next(), Deadline::at(at(901)));
  for (int i = 0; i < 100; ++i) park(0, 901 + i);
  expect_due(999);
  expect_due(1000);
  EXPECT_TRUE(queue_.next().is_never());
}

INSTANTIATE_TEST_SUITE_P(Seeds, TimerQueueTest, test::seeds<int>(0, 64), test::kSeedName);

}  // namespace
}  // namespace heddle::fiber
