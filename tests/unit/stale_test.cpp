// The regression harness itself: does it see what it is made for, and can it fail?
#include "heddle/stale.h"

#include <set>
#include <stdexcept>

#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "stale/expectations.h"
#include "stale/leakers.h"
#include "stale/victims.h"
#include "support/numbered_entries.h"

namespace heddle::stale {
namespace {

Scenario scenario(const std::string& leaker, const std::string& victim,
                  const std::string& switch_point) {
  return {leaker, victim, switch_point};
}

// Passes everything on, so that tests can change one thing.
class Disguise : public Stack {
 public:
  explicit Disguise(std::unique_ptr<Stack> inner) : inner_(std::move(inner)) {}

  std::string_view name() const override { return "disguise"; }
  Isolation claims() const override { return inner_->claims(); }
  void run(std::function<void()> entry) override { inner_->run(std::move(entry)); }
  void spawn(const std::string& name, std::function<void()> entry) override {
    inner_->spawn(name, std::move(entry));
  }
  void yield() override { inner_->yield(); }
  bool switches_inside() const override { return inner_->switches_inside(); }
  std::unique_ptr<StackConnection> connect(const Endpoint& endpoint) override {
    return inner_->connect(endpoint);
  }

 private:
  std::unique_ptr<Stack> inner_;
};

TEST(StaleTest, EveryScenarioIsExplainedAndInTheTables) {
  std::set<std::string> leaker_names;
  std::set<std::string> victim_names;
  std::set<std::string> switch_names;
  for (const Part& part : leakers()) EXPECT_TRUE(leaker_names.insert(part.name).second);
  for (const Part& part : victims()) EXPECT_TRUE(victim_names.insert(part.name).second);
  for (const Part& part : switch_points()) EXPECT_TRUE(switch_names.insert(part.name).second);
  std::set<std::string> ids;
  for (const Scenario& one : scenarios()) {
    EXPECT_TRUE(ids.insert(one.id()).second) << one.id();
    EXPECT_TRUE(leaker_names.contains(one.leaker)) << one.leaker;
    EXPECT_TRUE(victim_names.contains(one.victim)) << one.victim;
    EXPECT_TRUE(switch_names.contains(one.switch_point)) << one.switch_point;
    (void)facts_of(one.leaker, OpenSSL_version_num());  // Aborts if there are none.
  }
  EXPECT_EQ(ids.size(), leaker_kinds().size() * situations().size());
}

TEST(StaleTest, PatternsChooseScenarios) {
  EXPECT_EQ(scenarios("pem-junk/read@bio-read").size(), 1U);
  EXPECT_EQ(scenarios("pem-junk/*").size(), situations().size());
  EXPECT_EQ(scenarios("*/read@*").size(), 4 * leaker_kinds().size());
  EXPECT_TRUE(scenarios("no such").empty());
}

TEST(StaleTest, ExpectationsFollowTheVersionOfOpenSsl) {
  const auto expected = [](const Scenario& one, Isolation claims, unsigned long openssl) {
    return expected_verdict(one, facts_of(one.leaker, openssl), claims, openssl);
  };
  const Scenario epipe = scenario("vanished-peer", "read", "between-calls");
  EXPECT_EQ(expected(epipe, Isolation::kShared, 0x30000130UL), Verdict::kHealthy);
  EXPECT_EQ(expected(epipe, Isolation::kShared, 0x30500000UL), Verdict::kSpurious);
  EXPECT_EQ(expected(epipe, Isolation::kClear, 0x30500000UL), Verdict::kHealthy);
  EXPECT_EQ(expected(epipe, Isolation::kShared, 0x40000030UL), Verdict::kHealthy);
  const Scenario parked = scenario("pem-junk", "read", "bio-read");
  EXPECT_EQ(expected(parked, Isolation::kClear, 0x30600000UL), Verdict::kSpurious);
  EXPECT_EQ(expected(parked, Isolation::kIsolated, 0x30600000UL), Verdict::kHealthy);
  const Scenario wiped = scenario("another-handshake", "untrusted", "alert-write");
  EXPECT_EQ(expected(wiped, Isolation::kClear, 0x40000030UL), Verdict::kLost);
}

TEST(StaleTest, CellNamesTheEntryAndWhoLeftIt) {
  if (OpenSSL_version_num() >= 0x40000000UL) GTEST_SKIP() << "this OpenSSL does not show the bug";
  const auto stack = make_heddle_stack(Isolation::kShared);
  const Cell cell = run(*stack, scenario("missing-trust-file", "read", "between-calls"));
  EXPECT_EQ(cell.verdict, Verdict::kSpurious);
  ASSERT_TRUE(cell.entry);
  EXPECT_TRUE(ERR_SYSTEM_ERROR(cell.entry->code));
  EXPECT_NE(cell.entry->data.find("/nonexistent/trust.pem"), std::string::npos);
  ASSERT_TRUE(cell.left_by);
  EXPECT_EQ(cell.left_by->fiber, "leaker");
  EXPECT_EQ(cell.left_by->operation, "SSL_CTX_load_verify_locations");
  EXPECT_NE(cell.left_by->file.find("leakers_crypto.cpp"), std::string::npos);
  EXPECT_GT(cell.left_by->line, 0);
  EXPECT_NE(cell.explain().find("spurious"), std::string::npos) << cell.explain();
}

TEST(StaleTest, SameSeedGivesTheSameCell) {
  const auto stack = make_heddle_stack(Isolation::kShared);
  for (const Scenario& one : scenarios("bad-record/*")) {
    EXPECT_EQ(run(*stack, one, 7).explain(), run(*stack, one, 7).explain());
  }
}

TEST(StaleTest, CallersQueueIsLeftAsItWas) {
  ERR_clear_error();
  test::raise_numbers(1, 4);
  const auto stack = make_heddle_stack(Isolation::kShared);
  (void)run(*stack, scenario("pem-junk", "read", "same-fiber"));
  EXPECT_EQ(test::take_all_numbers(), test::numbers(1, 4));
}

// The exit status hangs on this: a stack that takes no care and says it does must not pass.
TEST(StaleTest, CarelessStackThatClaimsToIsolateIsFoundOut) {
  class Liar : public Disguise {
   public:
    using Disguise::Disguise;
    Isolation claims() const override { return Isolation::kIsolated; }
  };
  Liar liar(make_careless_stack());
  const auto evp = scenarios("*/evp@before-reading");
  EXPECT_FALSE(run(liar, evp).as_expected());
  const auto honest = make_heddle_stack(Isolation::kIsolated);
  EXPECT_TRUE(run(*honest, evp).as_expected());
}

TEST(StaleTest, SharedStackThatShowsNothingIsFoundOut) {
  class Modest : public Disguise {
   public:
    using Disguise::Disguise;
    Isolation claims() const override { return Isolation::kShared; }
  };
  Modest modest(make_heddle_stack(Isolation::kIsolated));
  EXPECT_FALSE(run(modest, scenarios("pem-junk/evp@before-reading")).as_expected());
}

TEST(StaleTest, StackThatThrowsBreaksItsCellOnly) {
  class Thrower : public Disguise {
   public:
    using Disguise::Disguise;
    std::unique_ptr<StackConnection> connect(const Endpoint& /*endpoint*/) override {
      throw std::runtime_error("no connection today");
    }
  };
  Thrower thrower(make_heddle_stack(Isolation::kIsolated));
  const Cell cell = run(thrower, scenario("pem-junk", "read", "between-calls"));
  EXPECT_EQ(cell.verdict, Verdict::kBroken);
  EXPECT_EQ(cell.saw, "no connection today");
  EXPECT_FALSE(Report({.openssl = "", .seed = 1, .cells = {cell}}).as_expected());
}

TEST(StaleTest, StackThatCannotSwitchInsideSkips) {
  class Outside : public Disguise {
   public:
    using Disguise::Disguise;
    bool switches_inside() const override { return false; }
  };
  Outside outside(make_heddle_stack(Isolation::kIsolated));
  const Cell cell = run(outside, scenario("pem-junk", "read", "bio-read"));
  EXPECT_EQ(cell.verdict, Verdict::kSkipped);
  EXPECT_TRUE(cell.right());
}

}  // namespace
}  // namespace heddle::stale
