// The report as JUnit XML, in the dialect that Jenkins and GitLab both read.
#include <string>

#include <fmt/format.h>

#include "heddle/stale.h"

#include "stale/report.h"
#include "stale/report_markup.h"

namespace heddle::stale {
namespace {

std::string number(std::size_t value) {
  return fmt::format("{}", value);
}

void add_properties(Markup& out, const Report& report, const Block& block) {
  const auto add = [&out](std::string_view name, std::string_view value) {
    out.leaf("property", {{"name", name}, {"value", value}}, "");
  };
  out.open("properties");
  add("openssl", report.openssl);
  add("seed", fmt::format("{}", report.seed));
  add("claims", name_of(block.claims));
  out.close();
  out.line_break();
}

// What became of a test case: nothing is said of one that passed as healthy.
void add_result(Markup& out, const Cell& cell) {
  const std::string_view verdict = name_of(cell.verdict);
  if (cell.verdict == Verdict::kSkipped) {
    out.leaf("skipped", {{"message", cell.saw}}, "");
  } else if (breaks_the_rule(cell)) {
    const std::string message =
        fmt::format("{}, expected {}: {}", verdict, name_of(cell.expected), cell.saw);
    out.leaf("failure", {{"type", verdict}, {"message", message}}, cell.explain());
  } else if (cell.verdict != Verdict::kHealthy) {
    out.leaf("system-out", {}, cell.explain());
  }
}

void add_case(Markup& out, const Cell& cell) {
  const std::string folder = fmt::format("heddle.stale.{}.{}@{}", cell.stack, cell.scenario.victim,
                                         cell.scenario.switch_point);
  out.open("testcase", {{"classname", folder}, {"name", cell.scenario.id()}});
  add_result(out, cell);
  out.close();
  out.line_break();
}

void add_suite(Markup& out, const Report& report, const Block& block) {
  out.open("testsuite", {{"name", "heddle.stale." + block.stack},
                         {"tests", number(block.totals.cells)},
                         {"failures", number(block.totals.rule_breakers)},
                         {"errors", "0"},
                         {"skipped", number(block.totals.skipped)}});
  out.line_break();
  add_properties(out, report, block);
  for (const Cell* const cell : block.cells) add_case(out, *cell);
  out.close();
  out.line_break();
}

}  // namespace

std::string as_junit(const Report& report) {
  const Matrix matrix(report);
  Totals sum;
  for (const Block& block : matrix.blocks) {
    sum.rule_breakers += block.totals.rule_breakers;
    sum.skipped += block.totals.skipped;
  }
  Markup out("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
  out.open("testsuites", {{"name", "heddle stale"},
                          {"tests", number(report.cells.size())},
                          {"failures", number(sum.rule_breakers)},
                          {"errors", "0"},
                          {"skipped", number(sum.skipped)}});
  out.line_break();
  for (const Block& block : matrix.blocks) add_suite(out, report, block);
  return out.finish();
}

}  // namespace heddle::stale
