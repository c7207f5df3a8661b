// Scenarios and cells in words.
#include <vector>

#include <fmt/format.h>

#include "heddle/stale.h"

#include "stale/leakers.h"

namespace heddle::stale {

std::string Scenario::id() const {
  return fmt::format("{}/{}@{}", leaker, victim, switch_point);
}

std::vector<Part> leakers() {
  std::vector<Part> parts;
  for (const LeakerKind& kind : leaker_kinds()) parts.push_back({kind.name, kind.description});
  return parts;
}

std::vector<Part> victims() {
  return {
      {"read", "SSL_read with nothing pending"},
      {"peek", "SSL_peek with nothing pending"},
      {"write", "a parked SSL_write that finds room for a little and has to wait again"},
      {"shutdown", "SSL_shutdown waiting for the peer's close_notify"},
      {"woken-reader", "a parked SSL_read that half a record wakes"},
      {"five", "SSL_read on five connections in a row"},
      {"handshake", "a handshake with a healthy peer"},
      {"true-failure",
       "a connection that truly fails, by a forged record or a reset: whichever the entry does not "
       "speak of"},
      {"own-errors", "an application that uses TLS before it reads its own errors"},
      {"untrusted", "a client whose server does not verify, and that must say so"},
      {"evp", "an application whose EVP call fails, and that must find the reason"},
  };
}

std::vector<Part> switch_points() {
  return {
      {"same-fiber", "no switch at all: code in the victim's own fiber leaves the entry"},
      {"between-calls", "between two calls of the victim"},
      {"bio-read", "inside OpenSSL, in a BIO's read"},
      {"alert-write", "inside OpenSSL, while the alert of a failed handshake is written"},
      {"sni-callback", "inside OpenSSL, in the server's SNI callback"},
      {"verify-callback", "inside OpenSSL, in the client's verify callback, where a mark is set"},
      // tidy: a name.
      {"before-get-error", "between a call and its SSL_get_error()"},
      {"before-reading", "between a failed EVP call and the reading of its error"},
  };
}

std::string_view name_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHealthy:
      return "healthy";
    case Verdict::kSpurious:
      return "spurious";
    case Verdict::kLost:
      return "lost";
    case Verdict::kSkipped:
      return "skipped";
    case Verdict::kBroken:
      return "broken";
  }
  return "";
}

std::string Cell::explain() const {
  std::string text = fmt::format("{} [{}]: {}", scenario.id(), stack, name_of(verdict));
  if (!saw.empty()) text += fmt::format("; the victim saw: {}", saw);
  if (entry) {
    text += fmt::format("; the entry: {} ({}:{})", entry->message(), entry->file, entry->line);
  }
  if (left_by) {
    text += fmt::format("; left by fiber '{}' in {} at {}:{}", left_by->fiber, left_by->operation,
                        left_by->file, left_by->line);
  }
  if (!as_expected()) text += fmt::format("; expected was: {}", name_of(expected));
  return text;
}

bool Report::as_expected() const {
  for (const Cell& cell : cells) {
    if (cell.verdict == Verdict::kBroken) return false;
    if (cell.claims == Isolation::kIsolated && !cell.right()) return false;
    const bool must_show = cell.claims == Isolation::kShared && cell.expected != Verdict::kHealthy;
    if (must_show && cell.right()) return false;
  }
  return true;
}

}  // namespace heddle::stale
