// Error queues set aside and put back: nothing that OpenSSL shows may differ from a
// queue that was left alone.
#include "openssl/error_queue.h"

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/opensslv.h>

#include "heddle/fiber.h"

#include "support/sim.h"

namespace heddle::openssl {
namespace {

using std::chrono::milliseconds;

// The ring has 16 slots, one of which is always free.
constexpr int kEntriesMax = 15;

enum class Peek : std::uint8_t { kNo, kOldest, kNewest };

// One entry as OpenSSL shows it, or "none".
std::string entry(Peek peek = Peek::kNo) {
  const char* file = nullptr;
  const char* function = nullptr;
  const char* text = nullptr;
  int line = 0;
  int flags = 0;
  const auto call = peek == Peek::kNo       ? ERR_get_error_all
                    : peek == Peek::kOldest ? ERR_peek_error_all
                                            : ERR_peek_last_error_all;
  const unsigned long code = call(&file, &line, &function, &text, &flags);
  if (code == 0) return "none";
  return std::to_string(code) + ' ' + file + ':' + std::to_string(line) + ' ' + function + ' ' +
         text + ' ' + std::to_string(flags & ERR_TXT_STRING);
}

std::vector<std::string> take_all_entries() {
  std::vector<std::string> all;
  while (ERR_peek_error() != 0) all.push_back(entry());
  return all;
}

void raise_numbers(int from, int until) {
  for (int i = from; i < until; ++i) {
    ERR_raise_data(ERR_LIB_USER, i, "text of %d", i);
  }
}

std::vector<int> take_all_numbers() {
  std::vector<int> all;
  while (const unsigned long code = ERR_get_error()) all.push_back(ERR_GET_REASON(code));
  return all;
}

std::vector<int> numbers(int from, int until) {
  std::vector<int> all;
  for (int i = from; i < until; ++i) all.push_back(i);
  return all;
}

// Each test starts with an empty queue.
class ErrorQueueTest : public testing::Test {
 protected:
  ErrorQueueTest() { ERR_clear_error(); }
  ~ErrorQueueTest() override { ERR_clear_error(); }

  ThreadQueue queue_;
};

TEST_F(ErrorQueueTest, IsEmptyExactlyWithoutEntries) {
  EXPECT_TRUE(queue_.empty());
  ERR_raise(ERR_LIB_USER, 1);
  EXPECT_FALSE(queue_.empty());
  (void)ERR_get_error();
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(ERR_set_mark(), 0);  // Nothing to carry it.
  EXPECT_TRUE(queue_.empty());
}

TEST_F(ErrorQueueTest, TakenQueueLeavesAnEmptyOneAndComesBackWhole) {
  const auto raise = [] {
    raise_numbers(100, 103);
    ERR_add_error_data(2, ", and ", "more");
    ERR_raise(ERR_LIB_SYS, EPIPE);
    ERR_raise(ERR_LIB_USER, 103);
    static char fixed[] = "not to be freed";
    ERR_set_error_data(fixed, ERR_TXT_STRING);
  };
  raise();
  const std::vector<std::string> expected = take_all_entries();
  ASSERT_EQ(expected.size(), 5U);
  raise();
  SavedQueue saved = queue_.take();
  EXPECT_FALSE(saved.empty());
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(entry(Peek::kOldest), "none");
  EXPECT_EQ(ERR_set_mark(), 0);
  queue_.put(std::move(saved));
  EXPECT_EQ(entry(Peek::kNewest), expected.back());
  EXPECT_EQ(take_all_entries(), expected);
  EXPECT_TRUE(queue_.empty());
}

TEST_F(ErrorQueueTest, MarksOfSeveralLevelsComeBack) {
  raise_numbers(1, 2);
  ERR_set_mark();
  ERR_set_mark();  // Two on one entry.
  raise_numbers(2, 4);
  ERR_set_mark();
  raise_numbers(4, 5);
  queue_.put(queue_.take());
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()), 3);
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()), 1);
  raise_numbers(5, 6);
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()), 1);
  EXPECT_EQ(ERR_clear_last_mark(), 0);  // There were three.
}

TEST_F(ErrorQueueTest, MarkOnTheNewestEntryComesBack) {
  raise_numbers(1, 3);
  ERR_set_mark();
  queue_.put(queue_.take());
  raise_numbers(3, 5);
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(take_all_numbers(), numbers(1, 3));
}

TEST_F(ErrorQueueTest, FullQueueThatWrappedComesBackInOrder) {
  for (int raised = 10; raised < 60; ++raised) {
    ERR_clear_error();
    raise_numbers(0, raised);
    queue_.put(queue_.take());
    EXPECT_EQ(take_all_numbers(), numbers(std::max(0, raised - kEntriesMax), raised));
  }
}

TEST_F(ErrorQueueTest, EntriesThatWereAddedMeanwhileAreDropped) {
  raise_numbers(1, 4);
  SavedQueue saved = queue_.take();
  raise_numbers(10, 30);
  ERR_set_mark();
  queue_.put(std::move(saved));
  EXPECT_EQ(ERR_pop_to_mark(), 0);  // Not the mark of the others; removes everything.
  raise_numbers(1, 4);
  saved = queue_.take();
  raise_numbers(10, 11);
  queue_.put(std::move(saved));
  EXPECT_EQ(take_all_numbers(), numbers(1, 4));
}

TEST_F(ErrorQueueTest, QueueThatIsDroppedTakesItsTextsAlong) {
  raise_numbers(1, 40);  // The leak checker looks.
  static char fixed[] = "not to be freed";
  ERR_set_error_data(fixed, ERR_TXT_STRING);
  { const SavedQueue dropped = queue_.take(); }
  EXPECT_TRUE(queue_.empty());
  raise_numbers(1, 3);
  EXPECT_EQ(take_all_numbers(), numbers(1, 3));
}

TEST_F(ErrorQueueTest, SeveralQueuesMayBeAsideAtATime) {
  std::vector<SavedQueue> aside;
  for (int i = 0; i < 20; ++i) {
    raise_numbers(10 * i, 10 * i + 3);
    ERR_set_mark();
    raise_numbers(10 * i + 3, 10 * i + 5);
    aside.push_back(queue_.take());
  }
  std::reverse(aside.begin(), aside.end());
  for (int i = 19; i >= 0; --i) {
    queue_.put(std::move(aside[static_cast<std::size_t>(19 - i)]));
    EXPECT_EQ(ERR_pop_to_mark(), 1);
    EXPECT_EQ(take_all_numbers(), numbers(10 * i, 10 * i + 3));
  }
}

TEST_F(ErrorQueueTest, ClearForgetsEntriesAndMarks) {
  queue_.clear();
  raise_numbers(1, 3);
  ERR_set_mark();
  queue_.clear();
  EXPECT_TRUE(queue_.empty());
  raise_numbers(3, 4);
  EXPECT_EQ(ERR_pop_to_mark(), 0);
}

#if OPENSSL_VERSION_NUMBER < 0x40000000L

ERR_STATE& state() {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  return *ERR_get_state();
#pragma GCC diagnostic pop
}

// As OpenSSL does to an entry that must not tell an attacker why RSA decryption failed.
void hide_newest() {
  state().err_flags[state().top] |= ERR_FLAG_CLEAR;
}

TEST_F(ErrorQueueTest, HiddenEntryCountsAndComesBackHidden) {
  raise_numbers(1, 2);
  hide_newest();
  EXPECT_FALSE(queue_.empty());
  SavedQueue saved = queue_.take();
  EXPECT_TRUE(queue_.empty());
  queue_.put(std::move(saved));
  EXPECT_FALSE(queue_.empty());
  raise_numbers(2, 3);
  EXPECT_EQ(take_all_numbers(), numbers(2, 3));
}

TEST_F(ErrorQueueTest, ClearForgetsAHiddenEntry) {
  raise_numbers(1, 2);
  hide_newest();
  queue_.clear();
  EXPECT_EQ(state().top, state().bottom);
}

#else

void hide_newest() {}

#endif

TEST_F(ErrorQueueTest, GuardGivesAnEmptyQueueAndRestoresWhatWasThere) {
  raise_numbers(1, 3);
  ERR_set_mark();
  raise_numbers(3, 4);
  {
    const QueueGuard guard;
    EXPECT_TRUE(queue_.empty());
    raise_numbers(7, 9);
    ERR_set_mark();
  }
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(take_all_numbers(), numbers(1, 3));
}

TEST_F(ErrorQueueTest, GuardOverAnEmptyQueueDropsWhatWasAdded) {
  {
    const QueueGuard guard;
    raise_numbers(7, 9);
  }
  EXPECT_TRUE(queue_.empty());
  { const QueueGuard guard; }
  EXPECT_TRUE(queue_.empty());
}

TEST_F(ErrorQueueTest, GuardsNest) {
  raise_numbers(1, 2);
  {
    const QueueGuard outer;
    raise_numbers(2, 3);
    {
      const QueueGuard inner;
      raise_numbers(3, 4);
    }
    EXPECT_EQ(take_all_numbers(), numbers(2, 3));
  }
  EXPECT_EQ(take_all_numbers(), numbers(1, 2));
}

// A random sequence of calls, and all that they show.
class Story {
 public:
  explicit Story(int seed) : prng_(static_cast<std::uint64_t>(seed)) {}

  // Calls `between` after each step.
  template <typename Between>
  std::vector<std::string> tell(Between between) {
    for (int step = 0; step < 600; ++step) {
      act(step);
      between();
    }
    while (ERR_peek_error() != 0) say(entry());
    return std::move(shown_);
  }

 private:
  void say(std::string what) { shown_.push_back(std::move(what)); }
  void say(const char* what, int returned) { say(what + std::to_string(returned)); }

  void act(int step) {
    switch (prng_() % 16) {
      case 0:
      case 1:
      case 2:
        ERR_raise(ERR_LIB_SSL, step);
        break;
      case 3:
      case 4:
      case 5:
        ERR_raise_data(ERR_LIB_ASN1, step, "text %d", step);
        break;
      case 6:
        ERR_add_error_data(2, " more ", std::to_string(step).c_str());
        break;
      case 7:
        ERR_raise(ERR_LIB_SYS, ECONNRESET);
        hide_newest();
        break;
      case 8:
      case 9:
        say("set ", ERR_set_mark());
        break;
      case 10:
        say("pop ", ERR_pop_to_mark());
        break;
      case 11:
        say("clear last ", ERR_clear_last_mark());
        break;
      case 12:
        say(entry());
        break;
      case 13:
        say(entry(Peek::kOldest));
        break;
      case 14:
        say(entry(Peek::kNewest));
        break;
      default:
        if (prng_() % 16 == 0) ERR_clear_error();
    }
  }

  std::mt19937_64 prng_;
  std::vector<std::string> shown_;
};

// The parameter is the seed.
class ErrorQueueStoryTest : public testing::TestWithParam<int> {};

TEST_P(ErrorQueueStoryTest, QueueThatIsTakenAndPutBackShowsWhatAnUntouchedOneShows) {
  ERR_clear_error();
  std::vector<std::string> expected;
  std::thread([&] { expected = Story(GetParam()).tell([] {}); }).join();
  std::mt19937_64 prng(static_cast<std::uint64_t>(GetParam()) + 1000);
  ThreadQueue queue;
  const auto shown = Story(GetParam()).tell([&] {
    if (prng() % 2 == 0 || queue.empty()) return;
    SavedQueue saved = queue.take();
    EXPECT_TRUE(queue.empty());
    if (prng() % 2 == 0) {
      raise_numbers(1, 2 + static_cast<int>(prng() % 20));
      if (prng() % 2 == 0) ERR_set_mark();
    }
    queue.put(std::move(saved));
  });
  EXPECT_EQ(shown, expected);
  ERR_clear_error();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ErrorQueueStoryTest, testing::Range(0, 64));

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

INSTANTIATE_TEST_SUITE_P(Seeds, FiberErrorQueueTest, testing::Range(0, 16));

}  // namespace
}  // namespace heddle::openssl
