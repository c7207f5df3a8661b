// What the demo makes of its figures.
#include <array>
#include <string>

#include <gtest/gtest.h>

#include "cli/demo_ledger.h"
#include "cli/demo_report.h"

namespace heddle::cli {
namespace {

PolicyReport report(Isolation policy, std::size_t spurious) {
  PolicyReport made{.policy = policy,
                    .connections = 2000,
                    .requests = 40000,
                    .seconds = 4,
                    .spurious = spurious,
                    .bytes_per_connection = 51200};
  made.misdeeds.emplace_back("flips a bit", 7);
  if (spurious != 0) made.reasons.emplace_back("client: \"bad\\record\"\n", spurious);
  return made;
}

TEST(DemoReportTest, FaultUnderSharedAndNoneUnderIsolatedIsAsExpected) {
  const std::array reports{report(Isolation::kShared, 1234), report(Isolation::kClear, 0),
                           report(Isolation::kIsolated, 0)};
  const Verdict verdict = judge(reports);
  EXPECT_TRUE(verdict.as_expected);
  EXPECT_EQ(
      "shared: 1,234 of 2,000 healthy connections were declared dead because of entries which "
      "other connections had left in the thread's OpenSSL error queue; clear: none; isolated: "
      "none.",
      verdict.sentence);
}

TEST(DemoReportTest, OneSpuriousErrorUnderIsolatedIsUnexpected) {
  const std::array reports{report(Isolation::kShared, 5), report(Isolation::kIsolated, 1)};
  EXPECT_FALSE(judge(reports).as_expected);
}

TEST(DemoReportTest, SharedThatDoesNotReproduceIsUnexpected) {
  const std::array reports{report(Isolation::kShared, 0), report(Isolation::kIsolated, 0)};
  EXPECT_FALSE(judge(reports).as_expected);
}

TEST(DemoReportTest, JsonEscapesWhatAPeerMayHaveCaused) {
  const std::array reports{report(Isolation::kShared, 5)};
  const std::string json = as_json(reports, judge(reports));
  EXPECT_NE(std::string::npos, json.find(R"("client: \"bad\\record\"\n": 5)")) << json;
  EXPECT_NE(std::string::npos, json.find(R"("requests_per_second": 10000.0)")) << json;
}

TEST(DemoReportTest, TableIsColouredOnlyWhenAsked) {
  const std::array reports{report(Isolation::kShared, 5)};
  EXPECT_EQ(std::string::npos, as_table(reports, judge(reports), Colour::kNo).find('\033'));
  EXPECT_NE(std::string::npos, as_table(reports, judge(reports), Colour::kYes).find("\033[31m"));
}

TEST(DemoReportTest, DigitsAreGroupedByThree) {
  EXPECT_EQ("0", grouped(0));
  EXPECT_EQ("999", grouped(999));
  EXPECT_EQ("1,000", grouped(1000));
  EXPECT_EQ("123,456", grouped(123456));
  EXPECT_EQ("1,234,567", grouped(1234567));
}

TEST(LedgerTest, ConnectionIsCountedOnceHoweverManyEndsFail) {
  Ledger ledger(2);
  ledger.introduce(4000, 1);
  ledger.client_failed(1, "client: first");
  ledger.server_failed(4000, "server: what follows from it");
  EXPECT_EQ(1u, ledger.spurious());
  EXPECT_EQ(1u, ledger.reasons().count("client: first"));
  EXPECT_EQ(1u, ledger.reasons().size());
}

TEST(LedgerTest, MisbehavingPeersAreNotCounted) {
  Ledger ledger(1);
  ledger.introduce(4000, 0);
  ledger.server_failed(4001, "server: junk");
  EXPECT_EQ(0u, ledger.spurious());
}

TEST(LedgerTest, TheEndOfTheRunIsNotCounted) {
  Ledger ledger(1);
  ledger.close();
  ledger.client_failed(0, "client: cancelled");
  EXPECT_EQ(0u, ledger.spurious());
}

}  // namespace
}  // namespace heddle::cli
