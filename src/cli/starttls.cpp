// The dialogues that are made of lines, and how one is chosen: see starttls.h.
#include "cli/starttls.h"

#include <algorithm>
#include <array>
#include <utility>

#include "cli/starttls_dialogue.h"

namespace heddle::cli {
namespace {

using Name = std::pair<std::string_view, StartTls>;
constexpr std::array kNames = {
    Name{"smtp", StartTls::kSmtp},         Name{"imap", StartTls::kImap},
    Name{"pop3", StartTls::kPop3},         Name{"ftp", StartTls::kFtp},
    Name{"xmpp", StartTls::kXmpp},         Name{"ldap", StartTls::kLdap},
    Name{"postgres", StartTls::kPostgres}, Name{"mysql", StartTls::kMysql}};

bool is_code(std::string_view line) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return line.size() >= 3 && std::ranges::all_of(line.substr(0, 3), is_digit) &&
         (line.size() == 3 || line[3] == ' ' || line[3] == '-');
}

// Reads a reply of one line or more, whose code must be `code` (RFC 5321, section 4.2; RFC 959,
// section 4.2: what lies between the first line and the last may be anything).
Result<void> expect_reply(Dialogue& dialogue, std::string_view code, std::string_view protocol) {
  Result<std::string> line = dialogue.line();
  if (!line) return line.error();
  if (!is_code(*line)) return dialogue.unexpected(*line, protocol);
  const std::string first = *line;
  const bool is_long = first.size() > 3 && first[3] == '-';
  while (is_long &&
         (!is_code(*line) || !line->starts_with(first.substr(0, 3)) || line->substr(3, 1) == "-")) {
    line = dialogue.line();
    if (!line) return line.error();
  }
  if (!first.starts_with(code)) return dialogue.refused(first);
  return {};
}

Result<void> start_smtp(Dialogue& dialogue) {
  if (Result<void> greeted = expect_reply(dialogue, "220", "SMTP"); !greeted) return greeted;
  if (Result<void> sent = dialogue.send("EHLO localhost\r\n"); !sent) return sent;
  if (Result<void> known = expect_reply(dialogue, "250", "SMTP"); !known) return known;
  if (Result<void> sent = dialogue.send("STARTTLS\r\n"); !sent) return sent;
  return expect_reply(dialogue, "220", "SMTP");
}

Result<void> start_ftp(Dialogue& dialogue) {
  if (Result<void> greeted = expect_reply(dialogue, "220", "FTP"); !greeted) return greeted;
  if (Result<void> sent = dialogue.send("AUTH TLS\r\n"); !sent) return sent;
  return expect_reply(dialogue, "234", "FTP");
}

Result<void> start_imap(Dialogue& dialogue) {
  const Result<std::string> greeting = dialogue.line();
  if (!greeting) return greeting.error();
  if (!greeting->starts_with("* ")) return dialogue.unexpected(*greeting, "IMAP");
  // "* PREAUTH" leaves no way to TLS any more, and "* BYE" none to anything.
  if (!greeting->starts_with("* OK")) return dialogue.refused(*greeting);
  if (Result<void> sent = dialogue.send("a STARTTLS\r\n"); !sent) return sent;
  for (;;) {
    const Result<std::string> line = dialogue.line();
    if (!line) return line.error();
    if (line->starts_with("a OK")) return {};
    if (line->starts_with("a ") || line->starts_with("* BYE")) return dialogue.refused(*line);
    if (!line->starts_with("* ")) return dialogue.unexpected(*line, "IMAP");
  }
}

Result<void> expect_ok(Dialogue& dialogue) {
  const Result<std::string> line = dialogue.line();
  if (!line) return line.error();
  if (line->starts_with("+OK")) return {};
  if (line->starts_with("-ERR")) return dialogue.refused(*line);
  return dialogue.unexpected(*line, "POP3");
}

Result<void> start_pop3(Dialogue& dialogue) {
  if (Result<void> greeted = expect_ok(dialogue); !greeted) return greeted;
  if (Result<void> sent = dialogue.send("STLS\r\n"); !sent) return sent;
  return expect_ok(dialogue);
}

Result<void> converse(Dialogue& dialogue, StartTls protocol, std::string_view name) {
  switch (protocol) {
    case StartTls::kSmtp:
      return start_smtp(dialogue);
    case StartTls::kImap:
      return start_imap(dialogue);
    case StartTls::kPop3:
      return start_pop3(dialogue);
    case StartTls::kFtp:
      return start_ftp(dialogue);
    case StartTls::kXmpp:
      return start_xmpp(dialogue, name);
    case StartTls::kLdap:
      return start_ldap(dialogue);
    case StartTls::kPostgres:
      return start_postgres(dialogue);
    case StartTls::kMysql:
      return start_mysql(dialogue);
  }
  return {};
}

}  // namespace

std::vector<std::string> starttls_names() {
  std::vector<std::string> names;
  names.reserve(kNames.size());
  for (const Name& each : kNames) names.emplace_back(each.first);
  return names;
}

std::optional<StartTls> parse_starttls(std::string_view name) {
  const auto* const found = std::ranges::find(kNames, name, &Name::first);
  return found == kNames.end() ? std::nullopt : std::optional(found->second);
}

std::optional<StartTlsFailure> start_tls(Transport& transport, StartTls protocol,
                                         std::string_view name, Deadline deadline) {
  Dialogue dialogue(transport, deadline);
  Result<void> started = converse(dialogue, protocol, name);
  if (started) started = dialogue.expect_silence();
  if (started) return std::nullopt;
  return StartTlsFailure{.error = started.error(), .message = dialogue.message(started.error())};
}

}  // namespace heddle::cli
