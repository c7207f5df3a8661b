// The stale-error harness itself: each kind of stack shows exactly what its claims let expect.
#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <unistd.h>

#include "heddle/stale.h"

#include "support/numbered_entries.h"
#include "support/stale_print.h"

namespace heddle {
namespace {

using stale::Cell;
using stale::Scenario;
using stale::Stack;
using stale::Verdict;

struct StackKind {
  const char* name;
  std::unique_ptr<Stack> (*make)();

  friend void PrintTo(const StackKind& kind, std::ostream* out) { *out << kind.name; }
};

std::unique_ptr<Stack> make_shared() {
  return stale::make_heddle_stack(Isolation::kShared);
}
std::unique_ptr<Stack> make_clear() {
  return stale::make_heddle_stack(Isolation::kClear);
}
std::unique_ptr<Stack> make_isolated() {
  return stale::make_heddle_stack(Isolation::kIsolated);
}

constexpr StackKind kCareless{"careless", stale::make_careless_stack};
constexpr StackKind kShared{"shared", make_shared};
constexpr StackKind kClear{"clear", make_clear};
constexpr StackKind kIsolated{"isolated", make_isolated};

using Parameter = std::tuple<StackKind, Scenario>;

class StaleErrors : public testing::TestWithParam<Parameter> {};

TEST_P(StaleErrors, DoTheHarmThatTheStackLetsExpect) {
  const auto stack = std::get<0>(GetParam()).make();
  const Cell cell = stale::run(*stack, std::get<1>(GetParam()));
  EXPECT_TRUE(cell.as_expected()) << cell.explain();
  EXPECT_NE(cell.verdict, Verdict::kSkipped) << cell.explain();
}

std::string name_of(const testing::TestParamInfo<Parameter>& info) {
  const testing::TestParamInfo<Scenario> scenario(std::get<1>(info.param), info.index);
  return std::string(std::get<0>(info.param).name) + "__" + stale::test_name(scenario);
}

INSTANTIATE_TEST_SUITE_P(All, StaleErrors,
                         testing::Combine(testing::Values(kCareless, kShared, kClear, kIsolated),
                                          testing::ValuesIn(stale::scenarios())),
                         name_of);

// The same without the harness's table of what to expect.
Cell run_one(const StackKind& kind, const std::string& scenario) {
  const auto found = stale::scenarios(scenario);
  EXPECT_EQ(found.size(), 1U) << scenario;
  const auto stack = kind.make();
  return stale::run(*stack, found.at(0));
}

// What the victim comes to in each stack: careless, shared, clear, isolated.
std::vector<Verdict> verdicts(const std::string& scenario) {
  std::vector<Verdict> all;
  for (const StackKind& kind : {kCareless, kShared, kClear, kIsolated}) {
    all.push_back(run_one(kind, scenario).verdict);
  }
  return all;
}

constexpr Verdict kRight = Verdict::kHealthy;
// From 4.0 on SSL_get_error() looks at the connection before it looks at the queue.
const Verdict kDead = OPENSSL_version_major() < 4 ? Verdict::kSpurious : Verdict::kHealthy;
constexpr Verdict kLost = Verdict::kLost;

TEST(StaleHarness, EntryThatLiesThereBeforeTheCallHarmsWhoeverDoesNotClear) {
  EXPECT_EQ(verdicts("pem-junk/read@between-calls"), (std::vector{kDead, kDead, kRight, kRight}));
}

TEST(StaleHarness, EntryThatComesDuringTheCallHarmsWhoeverDoesNotIsolate) {
  EXPECT_EQ(verdicts("pem-junk/read@bio-read"), (std::vector{kDead, kDead, kDead, kRight}));
  EXPECT_EQ(verdicts("pem-junk/handshake@sni-callback"),
            (std::vector{kDead, kDead, kDead, kRight}));
}

TEST(StaleHarness, HandshakeOfAnotherWipesATrueErrorUnlessIsolated) {
  EXPECT_EQ(verdicts("another-handshake/untrusted@alert-write"),
            (std::vector{kLost, kLost, kLost, kRight}));
}

TEST(StaleHarness, ClearingLosesTheApplicationsOwnErrors) {
  EXPECT_EQ(verdicts("pem-junk/own-errors@same-fiber"),
            (std::vector{kRight, kRight, kLost, kRight}));
}

TEST(StaleHarness, HiddenEntryIsNoFalseAlarm) {
  EXPECT_EQ(verdicts("hidden-entry/read@between-calls"),
            (std::vector{kRight, kRight, kRight, kRight}));
}

TEST(StaleHarness, CellNamesTheEntryAndWhoLeftIt) {
  const Cell cell = run_one(kShared, "pem-junk/read@between-calls");
  ASSERT_TRUE(cell.entry);
  EXPECT_EQ(ERR_GET_LIB(cell.entry->code), ERR_LIB_PEM);
  ASSERT_TRUE(cell.left_by);
  EXPECT_EQ(cell.left_by->fiber, "leaker");
  EXPECT_EQ(cell.left_by->operation, "PEM_read_bio_X509");
  EXPECT_GT(cell.left_by->line, 0);
}

TEST(StaleHarness, ThreadsOwnQueueIsLeftAsItWas) {
  test::raise_numbers(1, 4);
  EXPECT_EQ(ERR_set_mark(), 1);
  (void)run_one(kShared, "pem-junk/read@between-calls");
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(test::take_all_numbers(), test::numbers(1, 4));
}

TEST(StaleHarness, VerdictsDoNotDependOnTheSeed) {
  const auto scenarios = stale::scenarios("pem-junk/*");
  const auto stack = kClear.make();
  for (const std::uint64_t seed : {2U, 3U, 4U, 5U}) {
    for (const Cell& cell : stale::run(*stack, scenarios, seed).cells) {
      EXPECT_TRUE(cell.as_expected()) << "seed " << seed << ": " << cell.explain();
    }
  }
}

// Claims more than it does.
class Boaster : public stale::Stack {
 public:
  std::string_view name() const override { return "boaster"; }
  Isolation claims() const override { return Isolation::kIsolated; }
  void run(std::function<void()> entry) override { stack_->run(std::move(entry)); }
  void spawn(const std::string& name, std::function<void()> entry) override {
    stack_->spawn(name, std::move(entry));
  }
  void yield() override { stack_->yield(); }
  std::unique_ptr<stale::StackConnection> connect(const stale::Endpoint& endpoint) override {
    return stack_->connect(endpoint);
  }

 private:
  std::unique_ptr<stale::Stack> stack_ = make_shared();
};

TEST(StaleHarness, StackThatClaimsMoreThanItDoesIsFoundOut) {
  Boaster boaster;
  const auto scenarios = stale::scenarios("another-handshake/evp@before-reading");
  ASSERT_EQ(scenarios.size(), 1U);
  const stale::Report report = stale::run(boaster, scenarios);
  EXPECT_EQ(report.cells.at(0).verdict, kLost);
  EXPECT_FALSE(report.cells.at(0).as_expected());
  EXPECT_FALSE(report.as_expected());
}

TEST(StaleHarness, SwitchesInsideAreSkippedWhereTheStackHasNone) {
  Boaster boaster;
  const auto scenarios = stale::scenarios("pem-junk/read@bio-read");
  EXPECT_EQ(stale::run(boaster, scenarios.at(0)).verdict, Verdict::kSkipped);
}

class Thrower : public Boaster {
 public:
  std::unique_ptr<stale::StackConnection> connect(const stale::Endpoint& endpoint) override {
    close(endpoint.descriptor);
    throw std::runtime_error("the stack refuses");
  }
};

TEST(StaleHarness, StackThatThrowsMakesTheCellBroken) {
  Thrower thrower;
  const Cell cell = stale::run(thrower, stale::scenarios("pem-junk/read@between-calls").at(0));
  EXPECT_EQ(cell.verdict, Verdict::kBroken);
  EXPECT_NE(cell.explain().find("the stack refuses"), std::string::npos) << cell.explain();
}

}  // namespace
}  // namespace heddle
