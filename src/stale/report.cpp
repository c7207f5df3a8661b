// Arranges and counts the cells of a report.
#include "stale/report.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

namespace heddle::stale {
namespace {

// Where `name` stands in `parts`; behind all of them if it does not.
std::size_t rank(const std::vector<Part>& parts, const std::string& name) {
  const auto found =
      std::find_if(parts.begin(), parts.end(), [&](const Part& part) { return part.name == name; });
  return static_cast<std::size_t>(found - parts.begin());
}

template <typename Item>
std::size_t index_of(const std::vector<Item>& items, const Item& item) {
  return static_cast<std::size_t>(std::find(items.begin(), items.end(), item) - items.begin());
}

template <typename Item>
void add_once(std::vector<Item>& items, const Item& item) {
  if (index_of(items, item) == items.size()) items.push_back(item);
}

Column column_of(const Cell& cell) {
  return {cell.scenario.victim, cell.scenario.switch_point};
}

void count(Totals& totals, const Cell& cell) {
  ++totals.cells;
  if (!cell.as_expected()) ++totals.unexpected;
  if (breaks_the_rule(cell)) ++totals.rule_breakers;
  switch (cell.verdict) {
    case Verdict::kHealthy:
      ++totals.healthy;
      break;
    case Verdict::kSpurious:
      ++totals.spurious;
      break;
    case Verdict::kLost:
      ++totals.lost;
      break;
    case Verdict::kSkipped:
      ++totals.skipped;
      break;
    case Verdict::kBroken:
      ++totals.broken;
      break;
  }
}

Block& block_of(std::vector<Block>& blocks, const Cell& cell) {
  const auto found = std::find_if(blocks.begin(), blocks.end(), [&](const Block& block) {
    return block.stack == cell.stack && block.claims == cell.claims;
  });
  if (found != blocks.end()) return *found;
  return blocks.emplace_back(Block{.stack = cell.stack, .claims = cell.claims});
}

const Cell* first_rule_breaker(const Report& report) {
  const auto found = std::find_if(report.cells.begin(), report.cells.end(), breaks_the_rule);
  return found == report.cells.end() ? nullptr : &*found;
}

std::string what_holds(const Block& block) {
  const Totals& totals = block.totals;
  if (block.claims == Isolation::kIsolated) {
    return fmt::format("{} is right wherever it was tried", block.stack);
  }
  if (block.claims == Isolation::kShared && totals.spurious + totals.lost != 0) {
    return fmt::format("{} shows the bug wherever this OpenSSL has it", block.stack);
  }
  return "";
}

}  // namespace

// Asked of a report of that cell alone, so that the rule is written down once.
bool breaks_the_rule(const Cell& cell) {
  return !Report{.cells = {cell}}.as_expected();
}

Matrix::Matrix(const Report& report) {
  for (const Cell& cell : report.cells) {
    add_once(rows, cell.scenario.leaker);
    add_once(columns, column_of(cell));
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [parts = leakers()](const std::string& left, const std::string& right) {
                     return rank(parts, left) < rank(parts, right);
                   });
  std::stable_sort(
      columns.begin(), columns.end(),
      [whom = victims(), when = switch_points()](const Column& left, const Column& right) {
        return std::pair(rank(whom, left.victim), rank(when, left.switch_point)) <
               std::pair(rank(whom, right.victim), rank(when, right.switch_point));
      });
  for (const Cell& cell : report.cells) {
    Block& block = block_of(blocks, cell);
    block.grid.resize(rows.size() * columns.size());
    block.cells.push_back(&cell);
    block.grid[index_of(rows, cell.scenario.leaker) * columns.size() +
               index_of(columns, column_of(cell))] = &cell;
    count(block.totals, cell);
  }
}

std::string counted(std::size_t count, std::string_view noun) {
  const std::string digits = fmt::format("{}", count);
  std::string text;
  for (std::size_t index = 0; index < digits.size(); ++index) {
    if (index != 0 && (digits.size() - index) % 3 == 0) text += ',';
    text += digits[index];
  }
  return fmt::format("{} {}{}", text, noun, count == 1 ? "" : "s");
}

std::string outcome(const Totals& totals) {
  const auto were = [](std::size_t count, std::string_view noun) {
    if (count == 0) return fmt::format("no {} was", noun);
    return fmt::format("{} {}", counted(count, noun), count == 1 ? "was" : "were");
  };
  std::string text =
      fmt::format("{} declared dead, {} lost, in {}", were(totals.spurious, "healthy connection"),
                  were(totals.lost, "error"), counted(totals.cells - totals.skipped, "scenario"));
  if (totals.skipped != 0) text += fmt::format("; {} could not be played", totals.skipped);
  if (totals.broken != 0) text += fmt::format("; {} broke", counted(totals.broken, "scene"));
  return text;
}

std::string conclusion(const Report& report) {
  const Matrix matrix(report);
  if (const Cell* const first = first_rule_breaker(report)) {
    std::size_t breakers = 0;
    for (const Block& block : matrix.blocks) breakers += block.totals.rule_breakers;
    return fmt::format("Not as expected: {}. The first: {}", counted(breakers, "cell"),
                       first->explain());
  }
  std::string text;
  for (const Block& block : matrix.blocks) {
    const std::string holds = what_holds(block);
    if (!holds.empty()) text += (text.empty() ? ": " : "; ") + holds;
  }
  return (report.as_expected() ? "As expected" : "Not as expected") + text + ".";
}

}  // namespace heddle::stale
