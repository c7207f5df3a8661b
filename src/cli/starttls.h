// The plain text that some protocols speak before TLS begins.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/transport.h"

namespace heddle::cli {

enum class StartTls : std::uint8_t {
  kSmtp,      // RFC 3207
  kImap,      // RFC 9051, section 6.2.1
  kPop3,      // RFC 2595, section 4
  kFtp,       // RFC 4217, section 4
  kXmpp,      // RFC 6120, section 5
  kLdap,      // RFC 4511, section 4.14
  kPostgres,  // PostgreSQL's manual: Frontend/Backend Protocol, SSL Session Encryption
  kMysql,     // MySQL's manual: Protocol::SSLRequest
};

// Their names on the command line.
std::vector<std::string> starttls_names();
std::optional<StartTls> parse_starttls(std::string_view name);

struct StartTlsFailure {
  Error error;
  std::string message;  // With the server's own words, made printable.
};

// Brings the server behind `transport` to begin TLS with the next byte. `name` is the domain that
// XMPP asks for. Returns nothing if it is ready, else why not: it refuses, speaks another protocol,
// sends more than 64 KiB, or sends anything that was not asked for. What comes behind the server's
// last answer can be injected by anybody (CVE-2011-0411): it is an error, and neither plain text
// nor TLS. Parks.
std::optional<StartTlsFailure> start_tls(Transport& transport, StartTls protocol,
                                         std::string_view name, Deadline deadline);

}  // namespace heddle::cli
