// The report as one page to look at: the matrices side by side, and for each cell what happened.
//
// No script and nothing to fetch, so that it also shows where CI systems forbid both: a cell's card
// is a child of the cell, and the style sheet shows it while the cell is pointed at, has the focus
// or is the page's target (#c17).
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "heddle/stale.h"

#include "stale/report.h"
#include "stale/report_markup.h"
#include "stale/report_style.h"

namespace heddle::stale {
namespace {

constexpr std::string_view kHead =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" "
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    "<title>heddle stale</title>\n";

constexpr std::string_view kTheBug =
    "OpenSSL keeps one error queue per thread, and up to 3.6 SSL_get_error believes the oldest "
    "entry in it before it looks at the connection. So what one fiber leaves there turns the next "
    "\u201cno data yet\u201d of another fiber\u2019s healthy connection into a fatal error, or "
    "lets a true error pass for a different one. Each square below is one such encounter, played "
    "with real OpenSSL calls: what leaves the entry (row), whom it meets and when (column), and "
    "what the stack does about it (block).";

constexpr std::array kVerdicts = {Verdict::kHealthy, Verdict::kSpurious, Verdict::kLost,
                                  Verdict::kSkipped, Verdict::kBroken};

std::string_view glyph_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHealthy:
      return "\u00b7";
    case Verdict::kSpurious:
      return "S";
    case Verdict::kLost:
      return "L";
    case Verdict::kSkipped:
      return "\u2013";
    case Verdict::kBroken:
      return "!";
  }
  return "?";
}

std::string_view meaning_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHealthy:
      return "right";
    case Verdict::kSpurious:
      return "healthy connection declared dead";
    case Verdict::kLost:
      return "true error lost";
    case Verdict::kSkipped:
      return "cannot be played with this stack";
    case Verdict::kBroken:
      return "the scene itself broke";
  }
  return "";
}

std::string_view remedy_of(Isolation claims) {
  switch (claims) {
    case Isolation::kShared:
      return "Nothing is done: all fibers share the thread\u2019s queue.";
    case Isolation::kClear:
      return "The queue is cleared before each TLS call.";
    case Isolation::kIsolated:
      return "Each fiber has a queue of its own, and each TLS call begins with an empty one.";
  }
  return "";
}

std::string mark_class(const Cell& cell) {
  return fmt::format("mark {}{}", name_of(cell.verdict), cell.as_expected() ? "" : " unexpected");
}

// --- Above the matrix ---------------------------------------------------------------------------

void add_header(Markup& out, const Report& report) {
  out.open("header");
  out.leaf("h1", {}, "Stale errors");
  out.leaf("p", {{"class", "run"}},
           fmt::format("{} \u00b7 seed {} \u00b7 {}", report.openssl, report.seed,
                       counted(report.cells.size(), "cell")));
  out.leaf("p", {{"class", report.as_expected() ? "end good" : "end bad"}}, conclusion(report));
  out.close();
  out.line_break();
  out.open("section", {{"aria-label", "The bug"}});
  out.leaf("p", {{"class", "bug"}}, kTheBug);
  out.close();
  out.line_break();
}

// The shares of the verdicts, as lengths.
void add_bar(Markup& out, const Totals& totals) {
  const std::array counts = {totals.healthy, totals.spurious, totals.lost, totals.skipped,
                             totals.broken};
  out.open("div", {{"class", "bar"}, {"aria-hidden", "true"}});
  for (std::size_t index = 0; index < counts.size(); ++index) {
    if (counts[index] == 0) continue;
    out.leaf(
        "span",
        {{"class", name_of(kVerdicts[index])}, {"style", fmt::format("flex:{}", counts[index])}},
        "");
  }
  out.close();
}

void add_stack(Markup& out, const Block& block) {
  const std::size_t failed = block.totals.spurious + block.totals.lost;
  out.open("li");
  out.leaf("h2", {}, block.stack);
  out.leaf("p", {{"class", "remedy"}}, remedy_of(block.claims));
  out.open("p", {{"class", "figure"}});
  out.leaf("b", {}, fmt::format("{}", failed));
  out.text(failed == 1 ? "wrong answer" : "wrong answers");
  out.close();
  add_bar(out, block.totals);
  std::string sentence = outcome(block.totals) + ".";
  sentence[0] = sentence[0] == 'n' ? 'N' : sentence[0];
  out.leaf("p", {}, sentence);
  out.close();
  out.line_break();
}

void add_legend(Markup& out) {
  out.open("ul", {{"class", "legend"}});
  const auto add = [&out](const std::string& classes, std::string_view glyph,
                          std::string_view meaning) {
    out.open("li");
    out.leaf("span", {{"class", classes}}, glyph);
    out.text(meaning);
    out.close();
  };
  for (const Verdict verdict : kVerdicts) {
    add(fmt::format("mark {}", name_of(verdict)), glyph_of(verdict), meaning_of(verdict));
  }
  add("mark unexpected", "", "not as expected");
  out.close();
  out.line_break();
}

// --- The matrix ---------------------------------------------------------------------------------

void add_term(Markup& out, std::string_view term, std::string_view description) {
  out.leaf("dt", {}, term);
  out.leaf("dd", {}, description);
}

std::string place(std::string_view file, int line) {
  return line > 0 ? fmt::format("{}:{}", file, line) : std::string(file);
}

void add_entry(Markup& out, const ErrorEntry& entry) {
  add_term(out, "entry", fmt::format("{} ({:08X})", entry.message(), entry.code));
  add_term(out, "raised by OpenSSL in",
           fmt::format("{} ({})", entry.function, place(entry.file, entry.line)));
}

void add_card(Markup& out, const Cell& cell, std::string_view id) {
  out.open("div", {{"class", "card"}, {"id", id}});
  out.open("p", {{"class", "what"}});
  out.leaf("span", {{"class", mark_class(cell)}, {"aria-hidden", "true"}}, glyph_of(cell.verdict));
  out.leaf("b", {}, cell.scenario.id());
  out.leaf("span", {},
           fmt::format("{}: {}{}", cell.stack, name_of(cell.verdict),
                       cell.as_expected() ? ", as expected" : ""));
  if (!cell.as_expected()) {
    out.leaf("span", {{"class", "unlike"}}, fmt::format("expected {}", name_of(cell.expected)));
  }
  out.close();
  out.open("dl");
  add_term(out, cell.verdict == Verdict::kSkipped ? "why" : "the victim saw", cell.saw);
  if (cell.entry) add_entry(out, *cell.entry);
  if (cell.left_by) {
    add_term(out, "left by",
             fmt::format("fiber \u201c{}\u201d, {} at {}", cell.left_by->fiber,
                         cell.left_by->operation, place(cell.left_by->file, cell.left_by->line)));
  }
  out.close();
  out.close();
}

void add_cell(Markup& out, const Report& report, const Cell* cell, bool first) {
  out.open("td", {{"class", first ? "first" : ""}});
  if (cell != nullptr) {
    const std::string id = fmt::format("c{}", cell - report.cells.data());
    const std::string label =
        fmt::format("{}, {} {}{}", name_of(cell->verdict), cell->scenario.id(), cell->stack,
                    cell->as_expected() ? "" : ", not as expected");
    out.leaf("a",
             {{"class", mark_class(*cell)},
              {"href", "#" + id},
              {"aria-label", label},
              {"aria-describedby", id}},
             glyph_of(cell->verdict));
    add_card(out, *cell, id);
  }
  out.close();
}

void add_headings(Markup& out, const Matrix& matrix) {
  const std::string span = fmt::format("{}", matrix.columns.size());
  out.open("thead");
  out.open("tr");
  out.leaf("th", {{"scope", "col"}, {"rowspan", "2"}}, "");
  for (const Block& block : matrix.blocks) {
    out.leaf("th", {{"scope", "colgroup"}, {"colspan", span}, {"class", "first"}}, block.stack);
  }
  out.close();
  out.line_break();
  out.open("tr");
  for (std::size_t block = 0; block < matrix.blocks.size(); ++block) {
    for (const Column& column : matrix.columns) {
      const bool first = &column == &matrix.columns.front();
      out.open("th", {{"scope", "col"}, {"class", first ? "first" : ""}});
      out.leaf("span", {}, column.name());
      out.close();
    }
  }
  out.close();
  out.close();
  out.line_break();
}

void add_row(Markup& out, const Report& report, const Matrix& matrix, std::size_t row) {
  out.open("tr");
  out.leaf("th", {{"scope", "row"}}, matrix.rows[row]);
  for (const Block& block : matrix.blocks) {
    for (std::size_t column = 0; column < matrix.columns.size(); ++column) {
      add_cell(out, report, matrix.at(block, row, column), column == 0);
    }
  }
  out.close();
  out.line_break();
}

void add_matrix(Markup& out, const Report& report, const Matrix& matrix) {
  out.open(
      "div",
      {{"class", "scroll"}, {"tabindex", "0"}, {"aria-label", "The matrix"}, {"role", "region"}});
  out.open("table", {{"class", "matrix"}});
  out.open("caption");
  out.leaf("span", {},
           "Rows: what leaves the entry. Columns: who meets it, at which point. Point at a square, "
           "or click it, to see what happened.");
  out.close();
  add_headings(out, matrix);
  out.open("tbody");
  for (std::size_t row = 0; row < matrix.rows.size(); ++row) add_row(out, report, matrix, row);
  out.close();
  out.close();
  out.close();
  out.line_break();
}

// --- Below it -----------------------------------------------------------------------------------

void add_names(Markup& out, std::string_view title, const std::vector<Part>& parts) {
  out.leaf("h2", {}, title);
  out.open("dl");
  for (const Part& part : parts) add_term(out, part.name, part.description);
  out.close();
  out.line_break();
}

}  // namespace

std::string as_html(const Report& report) {
  const Matrix matrix(report);
  Markup out(kHead);
  // The style sheet is the one text that must not be escaped.
  out.verbatim("<style>");
  out.verbatim(kStyle);
  out.verbatim("</style>\n</head>\n<body>\n");
  add_header(out, report);
  out.open("section", {{"aria-label", "Totals"}});
  out.open("ul", {{"class", "stacks"}});
  for (const Block& block : matrix.blocks) add_stack(out, block);
  out.close();
  out.close();
  out.open("section", {{"aria-label", "Matrix"}});
  add_legend(out);
  add_matrix(out, report, matrix);
  out.close();
  out.open("details", {{"class", "names"}});
  out.leaf("summary", {}, "What the names mean");
  add_names(out, "Rows: who leaves the entry", leakers());
  add_names(out, "Columns: the victim", victims());
  add_names(out, "Columns: the point at which the one gets between the other", switch_points());
  out.close();
  out.verbatim("\n</body>\n</html>");
  return out.finish();
}

}  // namespace heddle::stale
