// XMPP before TLS: a stream of XML (RFC 6120, sections 4 and 5). See starttls_dialogue.h.
#include <string>

#include <fmt/core.h>

#include "cli/starttls_dialogue.h"

namespace heddle::cli {
namespace {

// A tag with what is between its brackets, and the text before it.
struct Tag {
  std::string text;
  std::string content;

  bool closes_itself() const { return content.ends_with('/'); }

  // "features" of "stream:features version='1'", "/features" of "/stream:features".
  std::string name() const {
    const std::string whole = content.substr(0, content.find_first_of(" \t\r\n/", 1));
    const std::size_t colon = whole.find(':');
    if (colon == std::string::npos) return whole;
    return fmt::format("{}{}", whole.starts_with('/') ? "/" : "", whole.substr(colon + 1));
  }
};

// Attributes may contain '>'.
bool is_whole(std::string_view content) {
  char quote = 0;
  for (const char c : content) {
    if (quote == 0 && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    }
  }
  return quote == 0;
}

Result<Tag> next_tag(Dialogue& dialogue) {
  Result<std::string> text = dialogue.until("<");
  if (!text) return text.error();
  Tag tag{.text = *std::move(text), .content = {}};
  for (;;) {
    const Result<std::string> piece = dialogue.until(">");
    if (!piece) return piece.error();
    tag.content += *piece;
    if (is_whole(tag.content)) return tag;
    tag.content += '>';
  }
}

// What an element says, for the user: names of its children, and text. Reads up to its end.
Result<std::string> words_of(Dialogue& dialogue, const Tag& element) {
  std::string words = element.name();
  if (element.closes_itself()) return words;
  for (;;) {
    const Result<Tag> tag = next_tag(dialogue);
    if (!tag) return tag.error();
    if (!tag->text.empty()) words += ' ' + tag->text;
    if (tag->name() == '/' + element.name()) return words;
    if (!tag->name().starts_with('/')) words += ' ' + tag->name();
  }
}

Error refused_by(Dialogue& dialogue, const Tag& element) {
  const Result<std::string> words = words_of(dialogue, element);
  return words ? dialogue.refused(*words) : words.error();
}

// Reads the server's header and what it offers.
Result<void> find_offer(Dialogue& dialogue) {
  bool is_stream = false;
  bool is_offered = false;
  for (;;) {
    const Result<Tag> tag = next_tag(dialogue);
    if (!tag) return tag.error();
    const std::string name = tag->name();
    if (name == "stream") is_stream = true;
    if (!is_stream && !name.starts_with('?')) {
      return dialogue.unexpected(fmt::format("{}<{}>", tag->text, tag->content), "XMPP");
    }
    if (name == "error") return refused_by(dialogue, *tag);
    if (name == "starttls") is_offered = true;
    const bool is_end = name == "/features" || (name == "features" && tag->closes_itself());
    if (is_end && is_offered) return {};
    if (is_end || name == "/stream") return dialogue.no_offer();
  }
}

// `text` within an attribute.
std::string quoted(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '<' || c == '&' || c == '\'') {
      escaped += fmt::format("&#{};", static_cast<int>(c));
    } else {
      escaped += c;
    }
  }
  return escaped;
}

}  // namespace

Result<void> start_xmpp(Dialogue& dialogue, std::string_view name) {
  const std::string header = fmt::format(
      "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
      "xmlns:stream='http://etherx.jabber.org/streams' to='{}' version='1.0'>",
      quoted(name));
  if (Result<void> sent = dialogue.send(header); !sent) return sent;
  if (Result<void> offered = find_offer(dialogue); !offered) return offered;
  const Result<void> asked = dialogue.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
  if (!asked) return asked;
  const Result<Tag> answer = next_tag(dialogue);
  if (!answer) return answer.error();
  const std::string verdict = answer->name();
  if (verdict == "failure" || verdict == "error") return refused_by(dialogue, *answer);
  if (verdict != "proceed") {
    return dialogue.unexpected(fmt::format("{}<{}>", answer->text, answer->content), "XMPP");
  }
  if (answer->closes_itself()) return {};
  const Result<Tag> end = next_tag(dialogue);
  if (!end) return end.error();
  if (end->name() == "/proceed" && end->text.empty()) return {};
  return dialogue.unexpected(fmt::format("{}<{}>", end->text, end->content), "XMPP");
}

}  // namespace heddle::cli
