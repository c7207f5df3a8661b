// The keys of session tickets, by a clock that the test sets.
#include "tls/state/ticket_key_ring.h"

#include <atomic>
#include <chrono>
#include <limits>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace heddle::tls {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using Source = TicketKeyRing::Source;

TimePoint at(Duration time) {
  return TimePoint(time);
}

TEST(TicketKeyRingTest, HasNoKeysUnlessToldToMakeSome) {
  TicketKeyRing ring;
  EXPECT_EQ(ring.source(), Source::kNone);
  EXPECT_EQ(ring.get(at(hours(1))).keys, nullptr);
  ring.rotate_by_default();
  EXPECT_EQ(ring.source(), Source::kDefault);
  ASSERT_NE(ring.get(at(hours(1))).keys, nullptr);
}

TEST(TicketKeyRingTest, NewKeySealsAndOlderOnesFollow) {
  TicketKeyRing ring;
  ring.rotate_by_default();
  const auto first = ring.get(at({}));
  ASSERT_EQ(first.keys->size(), 1U);
  EXPECT_TRUE(first.seals);
  EXPECT_EQ(ring.get(at(minutes(59))).keys, first.keys) << "nothing is made anew";
  const auto second = ring.get(at(hours(1)));
  ASSERT_EQ(second.keys->size(), 2U);
  EXPECT_EQ(second.keys->at(1).name, first.keys->at(0).name);
  EXPECT_NE(second.keys->at(0).name, first.keys->at(0).name);
  EXPECT_NE(second.keys->at(0).aes, first.keys->at(0).aes);
  const auto third = ring.get(at(hours(3)));
  ASSERT_EQ(third.keys->size(), 2U) << "the first is dropped";
  EXPECT_EQ(third.keys->at(1).name, second.keys->at(0).name);
}

TEST(TicketKeyRingTest, KeyIsDroppedAlsoBeforeTheNextIsDue) {
  TicketKeyRing ring;
  ring.rotate({.interval = hours(1), .kept = minutes(1)}).value();
  (void)ring.get(at({}));
  EXPECT_EQ(ring.get(at(hours(1))).keys->size(), 2U);
  EXPECT_EQ(ring.get(at(minutes(61))).keys->size(), 1U);
}

TEST(TicketKeyRingTest, GivenKeysStayAsTheyAre) {
  TicketKeyRing ring;
  ring.rotate_by_default();
  (void)ring.get(at({}));
  const TicketKey given = TicketKey::generate().value();
  ring.set({given});
  const auto now = ring.get(at(hours(1000)));
  ASSERT_EQ(now.keys->size(), 1U);
  EXPECT_EQ(now.keys->front().name, given.name);
  EXPECT_TRUE(now.seals);
  EXPECT_EQ(ring.source(), Source::kGiven);
}

TEST(TicketKeyRingTest, KeysOfTheDefaultOutliveADecisionForOtherTimes) {
  TicketKeyRing ring;
  ring.rotate_by_default();
  const auto first = ring.get(at({}));
  ring.rotate({.interval = minutes(1), .kept = hours(1)}).value();
  const auto second = ring.get(at(minutes(1)));
  ASSERT_EQ(second.keys->size(), 2U);
  EXPECT_EQ(second.keys->at(1).name, first.keys->at(0).name);
}

TEST(TicketKeyRingTest, TimesThatMakeNoSenseAreRefused) {
  TicketKeyRing ring;
  for (const TicketRotation& bad :
       {TicketRotation{.interval = seconds(0)}, TicketRotation{.interval = seconds(-1)},
        TicketRotation{.kept = seconds(-1)},
        TicketRotation{.interval = seconds(1), .kept = seconds(1000)}}) {
    const auto refused = ring.rotate(bad);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
    EXPECT_EQ(ring.source(), Source::kNone) << "as it was";
  }
  EXPECT_TRUE(ring.rotate({.interval = seconds(1), .kept = seconds(999)}));
}

TEST(TicketKeyRingTest, TimesBeyondTheClockMeanNever) {
  constexpr auto kLongest = std::chrono::seconds::max();
  TicketKeyRing ring;
  ring.rotate({.interval = kLongest, .kept = kLongest}).value();
  const auto first = ring.get(at(hours(1)));
  EXPECT_EQ(ring.get(at(hours(1'000'000))).keys, first.keys);
}

// A session timeout that was set later knows no limit.
TEST(TicketKeyRingTest, ThousandKeysAreKeptAtMost) {
  TicketKeyRing ring;
  EXPECT_FALSE(ring.rotate({.interval = seconds(1)})) << "2 hours of them";
  ring.set_session_timeout(seconds(10));
  ring.rotate({.interval = seconds(1)}).value();
  ring.set_session_timeout(hours(24 * 365));
  for (int i = 0; i < 1010; ++i) (void)ring.get(at(seconds(i)));
  EXPECT_EQ(ring.get(at(seconds(1010))).keys->size(), 1000U);
}

// Each sees a set that is whole, whoever turns the ring.
TEST(TicketKeyRingTest, ThreadsTurnItTogether) {
  TicketKeyRing ring;
  ring.rotate({.interval = seconds(1), .kept = seconds(3)}).value();
  std::atomic<int> time = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 500; ++turn) {
        const auto now = ring.get(at(seconds(time.fetch_add(1))));
        ASSERT_NE(now.keys, nullptr);
        ASSERT_GE(now.keys->size(), 1U);
        ASSERT_LE(now.keys->size(), 5U);
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < 500; ++i) ring.set_session_timeout(seconds(i));
  });
  for (std::thread& each : threads) each.join();
}

}  // namespace
}  // namespace heddle::tls
