// What the reports have in common: the cells as a matrix, counted and put into words.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/stale.h"

namespace heddle::stale {

// Whether `cell` alone is a reason for Report::as_expected() to be false.
bool breaks_the_rule(const Cell& cell);

// Whether the bug did something: a healthy connection declared dead, or an error lost.
inline bool has_failed(const Cell& cell) {
  return cell.verdict == Verdict::kSpurious || cell.verdict == Verdict::kLost;
}

struct Totals {
  std::size_t cells = 0;
  std::size_t healthy = 0;
  std::size_t spurious = 0;
  std::size_t lost = 0;
  std::size_t skipped = 0;
  std::size_t broken = 0;
  std::size_t unexpected = 0;     // Those whose verdict is not the expected one.
  std::size_t rule_breakers = 0;  // breaks_the_rule()
};

struct Column {
  std::string victim;
  std::string switch_point;

  // Such as "read@bio-read".
  std::string name() const { return victim + "@" + switch_point; }
  bool operator==(const Column&) const = default;
};

// The cells of one stack.
struct Block {
  std::string stack;
  Isolation claims = Isolation::kIsolated;
  Totals totals;
  std::vector<const Cell*> cells;  // In the order of the report.
  std::vector<const Cell*> grid;   // Row by row; null where there is none.
};

// Matrix is a report arranged to be looked at. It refers to the report's cells.
struct Matrix {
  explicit Matrix(const Report& report);

  std::vector<std::string> rows;  // Leakers. Rows and columns are in the order of the parts' lists.
  std::vector<Column> columns;
  std::vector<Block> blocks;

  const Cell* at(const Block& block, std::size_t row, std::size_t column) const {
    return block.grid[row * columns.size() + column];
  }
};

// Such as "87 healthy connections were declared dead and 1 true error was lost in 340 scenarios".
std::string outcome(const Totals& totals);

// "1 cell", "2 cells", "1,234 cells".
std::string counted(std::size_t count, std::string_view noun);

}  // namespace heddle::stale
