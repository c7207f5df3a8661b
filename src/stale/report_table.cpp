// The report for people at a terminal: a matrix per stack, or a list if there are few cells.
#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "heddle/stale.h"

#include "stale/report.h"
#include "stale/report_markup.h"

namespace heddle::stale {
namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kListedCells = 12;  // So many fit on a screen with their explanations.
constexpr std::size_t kFewExamples = 3;
constexpr std::size_t kColumnNameGap = 3;  // Between the names in the legend.

struct Look {
  char glyph;
  std::string_view colour;
  std::string_view meaning;
};

constexpr std::string_view kPlain = "\033[0m";
constexpr std::string_view kBold = "\033[1m";

Look look_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHealthy:
      return {'.', "\033[32m", "right"};
    case Verdict::kSpurious:
      return {'S', "\033[31m", "healthy, declared dead"};
    case Verdict::kLost:
      return {'L', "\033[33m", "error lost"};
    case Verdict::kSkipped:
      return {'-', "\033[2m", "not playable"};
    case Verdict::kBroken:
      return {'!', "\033[35m", "scene broke"};
  }
  return {'?', "", ""};
}

std::string painted(std::string_view text, std::string_view colour, bool wanted) {
  return wanted ? fmt::format("{}{}{}", colour, text, kPlain) : std::string(text);
}

// Three characters wide. Brackets mark what is not as expected, so that it shows without colour.
std::string mark(const Cell* cell, bool colour) {
  if (cell == nullptr) return "   ";
  const Look look = look_of(cell->verdict);
  const std::string glyph = painted(std::string(1, look.glyph), look.colour, colour);
  return cell->as_expected() ? fmt::format(" {} ", glyph) : fmt::format("[{}]", glyph);
}

// Breaks `text` into lines, each behind `indent` blanks but the first, which goes on at `column`.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t column) {
  std::string lines;
  const std::string clean = printable(text);
  std::string_view rest = clean;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find_first_of(" \t\n"), rest.size());
    const std::string_view word = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (word.empty()) continue;
    const bool fits = column == indent || column + 1 + word.size() <= kWidth;
    if (!fits) {
      lines += '\n';
      lines.append(indent, ' ');
      column = indent;
    } else if (column != indent) {
      lines += ' ';
      ++column;
    }
    lines += word;
    column += word.size();
  }
  return lines + "\n";
}

std::string explained(const Cell& cell, bool colour) {
  return fmt::format("{} {}", mark(&cell, colour), wrapped(cell.explain(), 4, 4));
}

// --- Legends ------------------------------------------------------------------------------------

std::string legend_of_marks(bool colour) {
  std::string text;
  for (const Verdict verdict : {Verdict::kHealthy, Verdict::kSpurious, Verdict::kLost,
                                Verdict::kSkipped, Verdict::kBroken}) {
    const Look look = look_of(verdict);
    text += painted(std::string(1, look.glyph), look.colour, colour) + " ";
    text += std::string(look.meaning) + "   ";
  }
  return text + "[ ] unexpected\n";
}

// The numbers of the columns and what they stand for, downwards in as many columns as fit.
std::string legend_of_columns(const Matrix& matrix) {
  std::size_t widest = 0;
  for (const Column& column : matrix.columns) widest = std::max(widest, column.name().size());
  const std::size_t field = widest + 3 + kColumnNameGap;
  const std::size_t count = matrix.columns.size();
  const std::size_t across = std::max<std::size_t>(1, kWidth / field);
  const std::size_t lines = (count + across - 1) / across;
  std::string text;
  for (std::size_t line = 0; line < lines; ++line) {
    std::string row;
    for (std::size_t index = line; index < count; index += lines) {
      row += fmt::format("{:>2} {:<{}}", index + 1, matrix.columns[index].name(), field - 3);
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  }
  return text;
}

// --- Blocks -------------------------------------------------------------------------------------

std::string heading(const Block& block, bool colour) {
  const std::string name = printable(block.stack);
  const std::string_view policy = name_of(block.claims);
  const std::string claims = name == policy ? ":" : fmt::format(" (claims: {}):", policy);
  return painted(name, kBold, colour) + claims +
         wrapped(outcome(block.totals), 4, name.size() + claims.size());
}

std::string grid(const Matrix& matrix, const Block& block, bool colour) {
  std::size_t widest = 0;
  for (const std::string& row : matrix.rows) widest = std::max(widest, row.size());
  std::string text = std::string(widest, ' ');
  for (std::size_t column = 0; column < matrix.columns.size(); ++column) {
    text += fmt::format("{:>3}", column + 1);
  }
  text += "\n";
  for (std::size_t row = 0; row < matrix.rows.size(); ++row) {
    std::string line = fmt::format("{:<{}} ", matrix.rows[row], widest);
    for (std::size_t column = 0; column < matrix.columns.size(); ++column) {
      line += mark(matrix.at(block, row, column), colour);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

// Which failures to explain: what is not as expected first, then those that show something new.
class Chosen {
 public:
  explicit Chosen(Examples wanted) : all_(wanted == Examples::kAll) {}

  // `novelty`: in how many of the three parts it has to differ from each that was chosen before.
  void offer(const Cell& cell, int novelty) {
    if (all_ ? differs(cell, 1) : cells.size() < kFewExamples && differs(cell, novelty)) {
      cells.push_back(&cell);
    }
  }

  std::vector<const Cell*> cells;

 private:
  bool differs(const Cell& cell, int novelty) const {
    const Scenario& one = cell.scenario;
    return std::all_of(cells.begin(), cells.end(), [&](const Cell* chosen) {
      const Scenario& other = chosen->scenario;
      const int differences = static_cast<int>(one.leaker != other.leaker) +
                              static_cast<int>(one.victim != other.victim) +
                              static_cast<int>(one.switch_point != other.switch_point);
      return differences >= novelty;
    });
  }

  const bool all_;
};

std::vector<const Cell*> examples_of(const Block& block, Examples wanted) {
  Chosen chosen(wanted);
  for (const Cell* const cell : block.cells) {
    if (!cell->as_expected()) chosen.offer(*cell, 1);
  }
  for (const int novelty : {3, 2}) {
    for (const Cell* const cell : block.cells) {
      if (has_failed(*cell)) chosen.offer(*cell, novelty);
    }
  }
  return std::move(chosen.cells);
}

std::string examples(const Block& block, bool colour, Examples wanted) {
  const auto worth_telling =
      std::count_if(block.cells.begin(), block.cells.end(),
                    [](const Cell* cell) { return has_failed(*cell) || !cell->as_expected(); });
  const std::vector<const Cell*> shown = examples_of(block, wanted);
  std::string text;
  for (const Cell* const cell : shown) text += explained(*cell, colour);
  const std::size_t more = static_cast<std::size_t>(worth_telling) - shown.size();
  if (more != 0) {
    text += fmt::format("    and {} more: heddle stale --verbose, or --format json\n", more);
  }
  return text;
}

std::string closing(const Report& report, bool colour) {
  const std::string_view paint =
      look_of(report.as_expected() ? Verdict::kHealthy : Verdict::kSpurious).colour;
  std::string lines = wrapped(conclusion(report), 0, 0);
  lines.pop_back();
  return painted(lines, paint, colour) + "\n";
}

std::string as_list(const Report& report, const Matrix& matrix, bool colour) {
  std::string text;
  for (const Cell& cell : report.cells) text += explained(cell, colour);
  text += "\n";
  for (const Block& block : matrix.blocks) text += heading(block, colour);
  return text + closing(report, colour);
}

}  // namespace

std::string as_table(const Report& report, bool colour, Examples wanted) {
  const Matrix matrix(report);
  std::string text =
      fmt::format("{}, seed {}\n{}\n", report.openssl, report.seed, legend_of_marks(colour));
  if (report.cells.size() <= kListedCells) return text + as_list(report, matrix, colour);
  text += legend_of_columns(matrix) + "\n";
  for (const Block& block : matrix.blocks) {
    text += heading(block, colour) + grid(matrix, block, colour);
    text += examples(block, colour, wanted) + "\n";
  }
  return text + closing(report, colour);
}

}  // namespace heddle::stale
