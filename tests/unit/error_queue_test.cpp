// Error queues set aside and put back: nothing that OpenSSL shows may differ from a
// queue that was left alone.
#include "heddle/error_queue.h"

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/opensslv.h>

#include "support/numbered_entries.h"
#include "support/seeds.h"

namespace heddle {
namespace {

using test::numbers;
using test::raise_numbers;
using test::take_all_numbers;

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

// Each test starts with an empty queue.
class ErrorQueueTest : public testing::Test {
 protected:
  ErrorQueueTest() { ERR_clear_error(); }
  ~ErrorQueueTest() override { ERR_clear_error(); }

  ThreadErrorQueue queue_;
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
  ErrorQueue saved = queue_.set_aside();
  EXPECT_FALSE(saved.empty());
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(entry(Peek::kOldest), "none");
  EXPECT_EQ(ERR_set_mark(), 0);
  queue_.bring_back(std::move(saved));
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
  queue_.bring_back(queue_.set_aside());
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
  queue_.bring_back(queue_.set_aside());
  raise_numbers(3, 5);
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(take_all_numbers(), numbers(1, 3));
}

TEST_F(ErrorQueueTest, FullQueueThatWrappedComesBackInOrder) {
  for (int raised = 10; raised < 60; ++raised) {
    ERR_clear_error();
    raise_numbers(0, raised);
    queue_.bring_back(queue_.set_aside());
    EXPECT_EQ(take_all_numbers(), numbers(std::max(0, raised - kEntriesMax), raised));
  }
}

TEST_F(ErrorQueueTest, EntriesThatWereAddedMeanwhileAreDropped) {
  raise_numbers(1, 4);
  ErrorQueue saved = queue_.set_aside();
  raise_numbers(10, 30);
  ERR_set_mark();
  queue_.bring_back(std::move(saved));
  EXPECT_EQ(ERR_pop_to_mark(), 0);  // Not the mark of the others; removes everything.
  raise_numbers(1, 4);
  saved = queue_.set_aside();
  raise_numbers(10, 11);
  queue_.bring_back(std::move(saved));
  EXPECT_EQ(take_all_numbers(), numbers(1, 4));
}

TEST_F(ErrorQueueTest, QueueThatIsDroppedTakesItsTextsAlong) {
  raise_numbers(1, 40);  // The leak checker looks.
  static char fixed[] = "not to be freed";
  ERR_set_error_data(fixed, ERR_TXT_STRING);
  { const ErrorQueue dropped = queue_.set_aside(); }
  EXPECT_TRUE(queue_.empty());
  raise_numbers(1, 3);
  EXPECT_EQ(take_all_numbers(), numbers(1, 3));
}

TEST_F(ErrorQueueTest, SwapExchangesTheThreadsQueueWithOneThatIsAside) {
  raise_numbers(1, 3);
  ErrorQueue other = queue_.set_aside();
  raise_numbers(10, 14);
  ERR_set_mark();
  queue_.swap(other);
  EXPECT_EQ(take_all_numbers(), numbers(1, 3));
  queue_.swap(other);
  EXPECT_TRUE(other.empty());
  EXPECT_EQ(ERR_clear_last_mark(), 1);
  EXPECT_EQ(take_all_numbers(), numbers(10, 14));
}

TEST_F(ErrorQueueTest, EmptyQueueBroughtBackLeavesAnEmptyOne) {
  EXPECT_TRUE(queue_.set_aside().empty());
  raise_numbers(1, 3);
  queue_.bring_back(ErrorQueue());
  EXPECT_TRUE(queue_.empty());
}

TEST_F(ErrorQueueTest, EntriesAreDescribedAndStay) {
  EXPECT_TRUE(queue_.entries().empty());
  raise_numbers(1, 3);
  ERR_set_mark();
  ERR_raise(ERR_LIB_SYS, EPIPE);
  const int line = __LINE__ - 1;
  const std::vector<ErrorEntry> entries = queue_.entries();
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(ERR_GET_REASON(entries[0].code), 1);
  EXPECT_EQ(entries[1].data, "text of 2");
  EXPECT_EQ(entries[2].file, __FILE__);
  EXPECT_EQ(entries[2].line, line);
  EXPECT_EQ(entries[2].function, OPENSSL_FUNC);
  EXPECT_NE(entries[2].message().find("Broken pipe"), std::string::npos) << entries[2].message();
  EXPECT_NE(entries[1].message().find("(text of 2)"), std::string::npos) << entries[1].message();
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(take_all_numbers(), numbers(1, 3));
}

TEST_F(ErrorQueueTest, SeveralQueuesMayBeAsideAtATime) {
  std::vector<ErrorQueue> aside;
  for (int i = 0; i < 20; ++i) {
    raise_numbers(10 * i, 10 * i + 3);
    ERR_set_mark();
    raise_numbers(10 * i + 3, 10 * i + 5);
    aside.push_back(queue_.set_aside());
  }
  std::reverse(aside.begin(), aside.end());
  for (int i = 19; i >= 0; --i) {
    queue_.bring_back(std::move(aside[static_cast<std::size_t>(19 - i)]));
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
  ErrorQueue saved = queue_.set_aside();
  EXPECT_TRUE(queue_.empty());
  queue_.bring_back(std::move(saved));
  EXPECT_FALSE(queue_.empty());
  raise_numbers(2, 3);
  EXPECT_EQ(take_all_numbers(), numbers(2, 3));
}

TEST_F(ErrorQueueTest, ScopeForbidsNoHiddenEntries) {
  {
    const ErrorQueueScope scope(Leftovers::kForbid);
    raise_numbers(1, 2);
    hide_newest();
  }
  EXPECT_TRUE(queue_.empty());
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

TEST_F(ErrorQueueTest, ScopeGivesAnEmptyQueueAndRestoresWhatWasThere) {
  raise_numbers(1, 3);
  ERR_set_mark();
  raise_numbers(3, 4);
  {
    const ErrorQueueScope scope(Leftovers::kDrop);
    EXPECT_TRUE(queue_.empty());
    raise_numbers(7, 9);
    ERR_set_mark();
  }
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(take_all_numbers(), numbers(1, 3));
}

TEST_F(ErrorQueueTest, ScopeOverAnEmptyQueueDropsWhatWasAdded) {
  {
    const ErrorQueueScope scope(Leftovers::kDrop);
    raise_numbers(7, 9);
  }
  EXPECT_TRUE(queue_.empty());
  { const ErrorQueueScope scope(Leftovers::kDrop); }
  EXPECT_TRUE(queue_.empty());
}

TEST_F(ErrorQueueTest, ScopesNest) {
  raise_numbers(1, 2);
  {
    const ErrorQueueScope outer(Leftovers::kDrop);
    raise_numbers(2, 3);
    {
      const ErrorQueueScope inner(Leftovers::kDrop);
      raise_numbers(3, 4);
    }
    EXPECT_EQ(take_all_numbers(), numbers(2, 3));
  }
  EXPECT_EQ(take_all_numbers(), numbers(1, 2));
}

TEST_F(ErrorQueueTest, ScopeThatForbidsLeftoversIsContentWhenErrorsWereRead) {
  raise_numbers(1, 2);
  {
    const ErrorQueueScope scope(Leftovers::kForbid);
    raise_numbers(2, 3);
    EXPECT_EQ(take_all_numbers(), numbers(2, 3));
  }
  EXPECT_EQ(take_all_numbers(), numbers(1, 2));
}

using ErrorQueueDeathTest = ErrorQueueTest;

TEST_F(ErrorQueueDeathTest, ScopeThatForbidsLeftoversNamesThemAndItself) {
  const auto leave = [] {
    const ErrorQueueScope scope(Leftovers::kForbid);
    ERR_raise_data(ERR_LIB_USER, 7, "forgotten");
  };
  EXPECT_DEATH(leave(), "error_queue_test.cpp:[0-9]+: an ErrorQueueScope ends with .*forgotten.*");
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
  ThreadErrorQueue queue;
  const auto shown = Story(GetParam()).tell([&] {
    if (prng() % 2 == 0 || queue.empty()) return;
    ErrorQueue saved = queue.set_aside();
    EXPECT_TRUE(queue.empty());
    if (prng() % 2 == 0) {
      raise_numbers(1, 2 + static_cast<int>(prng() % 20));
      if (prng() % 2 == 0) ERR_set_mark();
    }
    queue.bring_back(std::move(saved));
  });
  EXPECT_EQ(shown, expected);
  ERR_clear_error();
}

INSTANTIATE_TEST_SUITE_P(Seeds, ErrorQueueStoryTest, test::seeds<int>(0, 64), test::kSeedName);

}  // namespace
}  // namespace heddle
