// The report for programs.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "heddle/stale.h"

#include "stale/report.h"

namespace heddle::stale {
namespace {

using Json = nlohmann::ordered_json;  // Keeps the order in which members were added.

Json totals_of(const Block& block) {
  const Totals& totals = block.totals;
  return {{"name", block.stack},
          {"claims", name_of(block.claims)},
          {"cells", totals.cells},
          {"healthy", totals.healthy},
          {"spurious", totals.spurious},
          {"lost", totals.lost},
          {"skipped", totals.skipped},
          {"broken", totals.broken},
          {"unexpected", totals.unexpected},
          {"failures", totals.rule_breakers}};
}

Json entry_of(const ErrorEntry& entry) {
  return {{"code", fmt::format("{:08X}", entry.code)},  // As in OpenSSL's own messages.
          {"message", entry.message()},
          {"file", entry.file},
          {"line", entry.line},
          {"function", entry.function},
          {"data", entry.data},
          {"hidden", entry.hidden}};
}

Json origin_of(const Origin& origin) {
  return {{"fiber", origin.fiber},
          {"operation", origin.operation},
          {"file", origin.file},
          {"line", origin.line}};
}

Json cell_of(const Cell& cell) {
  return {{"id", cell.scenario.id()},
          {"stack", cell.stack},
          {"claims", name_of(cell.claims)},
          {"leaker", cell.scenario.leaker},
          {"victim", cell.scenario.victim},
          {"switch_point", cell.scenario.switch_point},
          {"verdict", name_of(cell.verdict)},
          {"expected", name_of(cell.expected)},
          {"as_expected", cell.as_expected()},
          {"failure", breaks_the_rule(cell)},
          {"saw", cell.saw},
          {"entry", cell.entry ? entry_of(*cell.entry) : Json()},
          {"left_by", cell.left_by ? origin_of(*cell.left_by) : Json()},
          {"explanation", cell.explain()}};
}

}  // namespace

std::string as_json(const Report& report) {
  Json stacks = Json::array();
  for (const Block& block : Matrix(report).blocks) stacks.push_back(totals_of(block));
  Json cells = Json::array();
  for (const Cell& cell : report.cells) cells.push_back(cell_of(cell));
  const Json whole{{"openssl", report.openssl},
                   {"seed", report.seed},
                   {"as_expected", report.as_expected()},
                   {"stacks", std::move(stacks)},
                   {"cells", std::move(cells)}};
  // A text may quote what a peer sent, in whatever encoding.
  return whole.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace heddle::stale
