// Writes XML and HTML: tags that match, everything else escaped.
//
// Not a library, because none writes both, and each would be one more thing to link for whoever
// uses libheddle_stale in a test suite.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace heddle::stale {

// Returns `text` as valid UTF-8 without what XML 1.0 forbids (section 2.2: most control characters,
// U+FFFE, U+FFFF). A terminal is better off without those, too.
std::string printable(std::string_view text);

// Markup is a document under construction.
class Markup {
 public:
  using Attributes = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // Begins with `prologue`, verbatim.
  explicit Markup(std::string_view prologue) : text_(prologue) {}

  void open(std::string_view tag, Attributes attributes = {});
  // Ends the element that was opened last.
  void close();
  void text(std::string_view text);
  // An element with nothing but text in it.
  void leaf(std::string_view tag, Attributes attributes, std::string_view content);
  // What is written in this program and needs no escaping.
  void verbatim(std::string_view markup) { text_ += markup; }
  // For whoever reads the source. Between elements only.
  void line_break() { text_ += '\n'; }

  // Ends what is open.
  std::string finish();

 private:
  void escape(std::string_view text);

  std::string text_;
  std::vector<std::string> open_;
};

}  // namespace heddle::stale
