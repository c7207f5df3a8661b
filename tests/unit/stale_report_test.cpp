// What the reports of the regression harness make of cells, right ones and wrong ones.
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <openssl/objects.h>
#include <openssl/opensslv.h>

#include "heddle/error_queue.h"
#include "heddle/stale.h"

#include "stale/report.h"
#include "stale/report_markup.h"

namespace heddle::stale {
namespace {

using Json = nlohmann::json;

Cell cell(Isolation claims, Verdict verdict, Verdict expected, const std::string& victim = "read",
          const std::string& switch_point = "bio-read") {
  Cell made{.scenario = {"pem-junk", victim, switch_point},
            .stack = std::string(name_of(claims)),
            .claims = claims,
            .verdict = verdict,
            .expected = expected,
            .saw = "what was seen"};
  made.entry = ErrorEntry{.code = 0x0480006C,
                          .file = "crypto/pem/pem_lib.c",
                          .line = 763,
                          .function = "get_name",
                          .data = "Expecting: CERTIFICATE"};
  made.left_by = Origin{"neighbour", "PEM_read_bio_X509", "leakers.cpp", 42};
  return made;
}

Report report_of(std::vector<Cell> cells) {
  return {.openssl = "OpenSSL 3.0.19", .seed = 7, .cells = std::move(cells)};
}

// As of a good run: `shared` and `clear` fail where they must, `isolated` does not.
Report good_report() {
  return report_of({cell(Isolation::kShared, Verdict::kSpurious, Verdict::kSpurious),
                    cell(Isolation::kClear, Verdict::kLost, Verdict::kLost),
                    cell(Isolation::kIsolated, Verdict::kHealthy, Verdict::kHealthy)});
}

// As many scenarios as make a table a matrix.
Report large_report(Verdict verdict, Verdict expected) {
  std::vector<Cell> cells;
  for (const Column& column :
       {Column{"read", "same-fiber"}, Column{"read", "between-calls"}, Column{"read", "bio-read"},
        Column{"peek", "same-fiber"}, Column{"peek", "between-calls"},
        Column{"write", "between-calls"}, Column{"five", "between-calls"}}) {
    for (const char* const leaker : {"pem-junk", "txt2obj"}) {
      cells.push_back(
          cell(Isolation::kShared, verdict, expected, column.victim, column.switch_point));
      cells.back().scenario.leaker = leaker;
    }
  }
  return report_of(std::move(cells));
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

std::string line_with(const std::string& text, const std::string& part) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (contains(line, part)) return line;
  }
  return "";
}

// --- What they have in common -------------------------------------------------------------------

TEST(ReportRuleTest, OnlyWhatDecidesTheExitStatusBreaksTheRule) {
  const auto breaks = [](Isolation claims, Verdict verdict, Verdict expected) {
    return breaks_the_rule(cell(claims, verdict, expected));
  };
  EXPECT_TRUE(breaks(Isolation::kIsolated, Verdict::kSpurious, Verdict::kHealthy));
  EXPECT_TRUE(breaks(Isolation::kIsolated, Verdict::kLost, Verdict::kHealthy));
  EXPECT_TRUE(breaks(Isolation::kShared, Verdict::kHealthy, Verdict::kSpurious));
  EXPECT_FALSE(breaks(Isolation::kIsolated, Verdict::kSkipped, Verdict::kHealthy));
  EXPECT_FALSE(breaks(Isolation::kShared, Verdict::kSpurious, Verdict::kSpurious));
  EXPECT_FALSE(breaks(Isolation::kClear, Verdict::kSpurious, Verdict::kHealthy));
}

TEST(MatrixTest, RowsAndColumnsFollowThePartsAndNotTheCells) {
  Report report = large_report(Verdict::kSpurious, Verdict::kSpurious);
  std::reverse(report.cells.begin(), report.cells.end());
  report.cells.push_back(cell(Isolation::kShared, Verdict::kHealthy, Verdict::kHealthy,
                              "a victim nobody knows", "bio-read"));
  const Matrix matrix(report);
  EXPECT_EQ((std::vector<std::string>{"pem-junk", "txt2obj"}), matrix.rows);
  ASSERT_EQ(8u, matrix.columns.size());
  EXPECT_EQ("read@same-fiber", matrix.columns.front().name());
  EXPECT_EQ("a victim nobody knows@bio-read", matrix.columns.back().name());
  ASSERT_EQ(1u, matrix.blocks.size());
  const Cell* const last = matrix.at(matrix.blocks[0], 0, 7);
  ASSERT_NE(nullptr, last);
  EXPECT_EQ(Verdict::kHealthy, last->verdict);
  EXPECT_EQ(nullptr, matrix.at(matrix.blocks[0], 1, 7));
}

TEST(MatrixTest, EveryVerdictIsCounted) {
  Report report = good_report();
  report.cells.push_back(cell(Isolation::kShared, Verdict::kSkipped, Verdict::kSpurious, "peek"));
  report.cells.push_back(cell(Isolation::kShared, Verdict::kBroken, Verdict::kSpurious, "write"));
  report.cells.push_back(cell(Isolation::kShared, Verdict::kHealthy, Verdict::kSpurious, "five"));
  const Totals totals = Matrix(report).blocks[0].totals;
  EXPECT_EQ(4u, totals.cells);
  EXPECT_EQ(1u, totals.spurious);
  EXPECT_EQ(1u, totals.skipped);
  EXPECT_EQ(1u, totals.broken);
  EXPECT_EQ(1u, totals.healthy);
  EXPECT_EQ(2u, totals.unexpected);
  EXPECT_EQ(
      "1 healthy connection was declared dead, no error was lost, in 3 scenarios; 1 could "
      "not be played; 1 scene broke",
      outcome(totals));
}

TEST(ConclusionTest, SaysWhatHoldsOrWhichCellDoesNot) {
  EXPECT_EQ(
      "As expected: shared shows the bug wherever this OpenSSL has it; isolated is right wherever "
      "it was tried.",
      conclusion(good_report()));
  Report report = good_report();
  report.cells[2].verdict = Verdict::kLost;
  const std::string sentence = conclusion(report);
  EXPECT_TRUE(sentence.starts_with("Not as expected: 1 cell. The first: ")) << sentence;
  EXPECT_TRUE(contains(sentence, report.cells[2].explain())) << sentence;
}

TEST(CountedTest, DigitsAreGroupedByThree) {
  EXPECT_EQ("0 cells", counted(0, "cell"));
  EXPECT_EQ("1 cell", counted(1, "cell"));
  EXPECT_EQ("999 cells", counted(999, "cell"));
  EXPECT_EQ("1,234,567 cells", counted(1234567, "cell"));
}

TEST(MarkupTest, WhatXmlForbidsIsGoneAndTheRestIsEscaped) {
  Markup out("");
  out.leaf("a", {{"b", "\"<&>\n"}}, "x\x01\x1b[31m\x7f\xff\xEF\xBF\xBE<&>\t\u00e9");
  EXPECT_EQ("<a b=\"&quot;&lt;&amp;&gt;&#10;\">x[31m\uFFFD&lt;&amp;&gt;\t\u00e9</a>\n",
            out.finish());
}

TEST(MarkupTest, FinishClosesWhatIsOpen) {
  Markup out("<!-- first -->");
  out.open("a");
  out.open("b");
  EXPECT_EQ("<!-- first --><a><b></b></a>\n", out.finish());
}

TEST(OpensslFactsTest, FindingThemLeavesTheCallersQueueAlone) {
  ThreadErrorQueue queue;
  queue.clear();
  (void)OBJ_txt2obj("no such object", /*no_name=*/1);
  (void)OBJ_txt2obj("nor such a one", /*no_name=*/1);
  const std::size_t before = queue.entries().size();
  const OpensslFacts facts = openssl_facts();
  EXPECT_EQ(OPENSSL_VERSION_NUMBER < 0x40000000L, facts.queue_first);
  EXPECT_EQ(OPENSSL_VERSION_TEXT, facts.built_with);
  EXPECT_EQ(2u, before);
  EXPECT_EQ(before, queue.entries().size());
  queue.clear();
}

// --- Table --------------------------------------------------------------------------------------

TEST(StaleTableTest, FewCellsAreAListWithTheirExplanations) {
  const Report report = good_report();
  const std::string table = as_table(report, /*colour=*/false);
  for (const Cell& each : report.cells) EXPECT_TRUE(contains(table, each.scenario.id())) << table;
  EXPECT_TRUE(contains(table, "PEM_read_bio_X509")) << table;
  EXPECT_TRUE(contains(table, "\n S  pem-junk/read@bio-read")) << table;
  EXPECT_FALSE(contains(table, " 1 read@bio-read")) << table;
}

TEST(StaleTableTest, ManyCellsAreAMatrixAndSomeExamples) {
  const std::string table =
      as_table(large_report(Verdict::kSpurious, Verdict::kSpurious), /*colour=*/false);
  EXPECT_EQ("pem-junk  S  S  S  S  S  S  S", line_with(table, "pem-junk  S")) << table;
  EXPECT_TRUE(contains(table, " 1 read@same-fiber")) << table;
  EXPECT_EQ(3u, count_of(table, "\n S  ")) << table;
  EXPECT_TRUE(contains(table, "and 11 more")) << table;
  EXPECT_TRUE(contains(table,
                       "shared: 14 healthy connections were declared dead, no error was "
                       "lost, in 14 scenarios"))
      << table;
}

TEST(StaleTableTest, VerboseExplainsEveryFailure) {
  const Report report = large_report(Verdict::kSpurious, Verdict::kSpurious);
  const std::string table = as_table(report, /*colour=*/false, Examples::kAll);
  for (const Cell& each : report.cells) EXPECT_TRUE(contains(table, each.scenario.id())) << table;
  EXPECT_FALSE(contains(table, "more:")) << table;
}

TEST(StaleTableTest, WhatIsNotAsExpectedIsMarkedAndExplainedFirst) {
  Report report = large_report(Verdict::kSpurious, Verdict::kSpurious);
  report.cells.back().verdict = Verdict::kHealthy;
  const std::string table = as_table(report, /*colour=*/false);
  EXPECT_EQ("txt2obj   S  S  S  S  S  S [.]", line_with(table, "txt2obj   S")) << table;
  EXPECT_LT(table.find("[.] txt2obj/five@between-calls"), table.find("\n S  ")) << table;
  EXPECT_TRUE(contains(table, "\nNot as expected: 1 cell. ")) << table;
}

TEST(StaleTableTest, IsColouredOnlyWhenAsked) {
  for (const Report& report : {good_report(), large_report(Verdict::kLost, Verdict::kSpurious)}) {
    EXPECT_EQ(std::string::npos, as_table(report, /*colour=*/false).find('\033'));
    EXPECT_NE(std::string::npos, as_table(report, /*colour=*/true).find("\033[33mL\033[0m"));
  }
}

TEST(StaleTableTest, NoLineIsWiderThanATerminalAndNoControlCharacterGetsThere) {
  Report report = large_report(Verdict::kSpurious, Verdict::kSpurious);
  report.cells[0].saw = "\033]0;title\x07 and\nmany words";
  for (int i = 0; i < 30; ++i) report.cells[0].saw += " more words";
  const std::string table = as_table(report, /*colour=*/false, Examples::kAll);
  EXPECT_FALSE(contains(table, "\033")) << table;
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(StaleTableTest, EmptyReportIsNoCrash) {
  EXPECT_TRUE(contains(as_table(Report{}, /*colour=*/false), "As expected"));
  EXPECT_TRUE(contains(as_html(Report{}), "As expected"));
  EXPECT_TRUE(contains(as_junit(Report{}), "tests=\"0\""));
  EXPECT_EQ(0u, Json::parse(as_json(Report{}))["cells"].size());
}

// --- JSON ---------------------------------------------------------------------------------------

TEST(StaleJsonTest, HoldsEveryFieldOfACell) {
  const Report report = good_report();
  const Json json = Json::parse(as_json(report));
  EXPECT_EQ("OpenSSL 3.0.19", json["openssl"]);
  EXPECT_EQ(7, json["seed"]);
  EXPECT_EQ(true, json["as_expected"]);
  const Json& first = json["cells"][0];
  EXPECT_EQ("pem-junk/read@bio-read", first["id"]);
  EXPECT_EQ("shared", first["claims"]);
  EXPECT_EQ("spurious", first["verdict"]);
  EXPECT_EQ("spurious", first["expected"]);
  EXPECT_EQ("what was seen", first["saw"]);
  EXPECT_EQ("0480006C", first["entry"]["code"]);
  EXPECT_EQ("get_name", first["entry"]["function"]);
  EXPECT_EQ(763, first["entry"]["line"]);
  EXPECT_EQ(report.cells[0].entry->message(), first["entry"]["message"].get<std::string>());
  EXPECT_EQ("neighbour", first["left_by"]["fiber"]);
  EXPECT_EQ("PEM_read_bio_X509", first["left_by"]["operation"]);
  EXPECT_EQ(42, first["left_by"]["line"]);
  EXPECT_EQ(report.cells[0].explain(), first["explanation"].get<std::string>());
}

TEST(StaleJsonTest, TotalsAreOfEachStack) {
  Report report = good_report();
  report.cells[2].verdict = Verdict::kSpurious;
  const Json json = Json::parse(as_json(report));
  EXPECT_EQ(false, json["as_expected"]);
  ASSERT_EQ(3u, json["stacks"].size());
  EXPECT_EQ("clear", json["stacks"][1]["name"]);
  EXPECT_EQ(1, json["stacks"][1]["lost"]);
  EXPECT_EQ(0, json["stacks"][1]["failures"]);
  EXPECT_EQ(1, json["stacks"][2]["failures"]);
  EXPECT_EQ(true, json["cells"][2]["failure"]);
}

TEST(StaleJsonTest, WhatIsNotThereIsNullAndWhatIsNoTextIsReplaced) {
  Report report = good_report();
  report.cells[0].entry.reset();
  report.cells[0].left_by.reset();
  report.cells[0].saw = "\xff\xfe";
  const Json first = Json::parse(as_json(report))["cells"][0];
  EXPECT_TRUE(first["entry"].is_null());
  EXPECT_TRUE(first["left_by"].is_null());
  EXPECT_EQ("\uFFFD\uFFFD", first["saw"]);
}

// --- JUnit --------------------------------------------------------------------------------------

TEST(StaleJunitTest, ExpectedFailurePassesAndSaysWhatWasSeen) {
  const std::string xml = as_junit(good_report());
  EXPECT_FALSE(contains(xml, "<failure")) << xml;
  EXPECT_EQ(2u, count_of(xml, "<system-out>")) << xml;
  EXPECT_TRUE(contains(xml,
                       "<testcase classname=\"heddle.stale.shared.read@bio-read\" "
                       "name=\"pem-junk/read@bio-read\"><system-out>"))
      << xml;
  EXPECT_TRUE(contains(xml, "<property name=\"openssl\" value=\"OpenSSL 3.0.19\">")) << xml;
  EXPECT_TRUE(contains(xml, "<property name=\"seed\" value=\"7\">")) << xml;
}

TEST(StaleJunitTest, FailureIsWhatBreaksTheRule) {
  Report report = good_report();
  report.cells[0].verdict = Verdict::kHealthy;
  report.cells[1].verdict = Verdict::kHealthy;  // Of `clear` nothing is asked.
  report.cells[2].verdict = Verdict::kSpurious;
  const std::string xml = as_junit(report);
  EXPECT_EQ(2u, count_of(xml, "<failure ")) << xml;
  EXPECT_TRUE(contains(xml, "<testsuites name=\"heddle stale\" tests=\"3\" failures=\"2\"")) << xml;
  EXPECT_TRUE(contains(xml, "<testsuite name=\"heddle.stale.isolated\" tests=\"1\" failures=\"1\""))
      << xml;
  EXPECT_TRUE(contains(xml,
                       "<failure type=\"spurious\" message=\"spurious, expected healthy: what "
                       "was seen\">"))
      << xml;
}

TEST(StaleJunitTest, SkippedSaysWhy) {
  Report report = good_report();
  report.cells[2].verdict = Verdict::kSkipped;
  report.cells[2].saw = "no \"native\" handle";
  const std::string xml = as_junit(report);
  EXPECT_TRUE(contains(xml, "<skipped message=\"no &quot;native&quot; handle\">")) << xml;
  EXPECT_TRUE(contains(xml, "failures=\"0\" errors=\"0\" skipped=\"1\"")) << xml;
}

// --- HTML ---------------------------------------------------------------------------------------

TEST(StaleHtmlTest, EveryCellHasASquareAndACardThatTellsAllOfIt) {
  const std::string html = as_html(good_report());
  EXPECT_EQ(3u, count_of(html, "class=\"card\"")) << html;
  EXPECT_TRUE(contains(html, "href=\"#c2\"") && contains(html, "id=\"c2\"")) << html;
  EXPECT_TRUE(contains(html, "fiber \u201cneighbour\u201d, PEM_read_bio_X509 at leakers.cpp:42"));
  EXPECT_TRUE(contains(html, "get_name (crypto/pem/pem_lib.c:763)"));
  EXPECT_TRUE(contains(html, "(0480006C)"));
  EXPECT_TRUE(contains(html, "what was seen"));
  EXPECT_EQ(3u, count_of(html, ", as expected</span>"));
}

TEST(StaleHtmlTest, WhatIsNotAsExpectedIsMarkedAndSaid) {
  Report report = good_report();
  report.cells[2].verdict = Verdict::kLost;
  const std::string html = as_html(report);
  EXPECT_TRUE(contains(html, "class=\"mark lost unexpected\"")) << html;
  EXPECT_TRUE(contains(html, "expected healthy</span>")) << html;
  EXPECT_TRUE(contains(html, "class=\"end bad\"")) << html;
  EXPECT_FALSE(contains(as_html(good_report()), "class=\"end bad\""));
}

TEST(StaleHtmlTest, TextsCannotBecomeMarkup) {
  Report report = good_report();
  report.cells[0].saw = "<script>alert(1)</script>";
  report.cells[0].scenario.leaker = "\"><img src=x>";
  report.openssl = "</style><b>";
  const std::string html = as_html(report);
  EXPECT_FALSE(contains(html, "<script")) << html;
  EXPECT_FALSE(contains(html, "<img")) << html;
  EXPECT_EQ(1u, count_of(html, "</style>")) << html;
}

}  // namespace
}  // namespace heddle::stale
