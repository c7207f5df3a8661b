// Escaping: see report_markup.h.
#include "stale/report_markup.h"

#include <nlohmann/json.hpp>

namespace heddle::stale {
namespace {

using Json = nlohmann::json;

bool is_forbidden(char character) {
  return (character >= 0 && character < ' ' && character != '\t' && character != '\n') ||
         character == '\x7f';
}

// JSON's writer knows how to replace what is no UTF-8.
std::string valid_utf8(std::string_view text) {
  const std::string quoted = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(quoted).get<std::string>();
}

// U+FFFE and U+FFFF in UTF-8.
bool is_noncharacter(std::string_view text) {
  return text.starts_with("\xEF\xBF\xBE") || text.starts_with("\xEF\xBF\xBF");
}

}  // namespace

std::string printable(std::string_view text) {
  const std::string valid = valid_utf8(text);
  std::string kept;
  kept.reserve(valid.size());
  for (std::size_t index = 0; index < valid.size(); ++index) {
    if (is_noncharacter(std::string_view(valid).substr(index))) {
      index += 2;
    } else if (!is_forbidden(valid[index])) {
      kept += valid[index];
    }
  }
  return kept;
}

void Markup::open(std::string_view tag, Attributes attributes) {
  text_ += '<';
  text_ += tag;
  for (const auto& [name, value] : attributes) {
    text_ += ' ';
    text_ += name;
    text_ += "=\"";
    escape(value);
    text_ += '"';
  }
  text_ += '>';
  open_.emplace_back(tag);
}

void Markup::close() {
  text_ += "</" + open_.back() + ">";
  open_.pop_back();
}

void Markup::text(std::string_view text) {
  escape(text);
}

void Markup::leaf(std::string_view tag, Attributes attributes, std::string_view content) {
  open(tag, attributes);
  text(content);
  close();
}

std::string Markup::finish() {
  while (!open_.empty()) close();
  return std::move(text_) + "\n";
}

// Quotes and line breaks matter in attributes only, where a parser would make the latter spaces.
void Markup::escape(std::string_view text) {
  for (const char character : printable(text)) {
    switch (character) {
      case '&':
        text_ += "&amp;";
        break;
      case '<':
        text_ += "&lt;";
        break;
      case '>':
        text_ += "&gt;";
        break;
      case '"':
        text_ += "&quot;";
        break;
      case '\n':
        text_ += "&#10;";
        break;
      default:
        text_ += character;
    }
  }
}

}  // namespace heddle::stale
