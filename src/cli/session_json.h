// A TLS session as JSON: what `heddle connect --json` prints.
#pragma once

#include <optional>
#include <string>

#include "heddle/tls/connection_state.h"
#include "heddle/tls/stream.h"

#include "cli/peer_report.h"

namespace heddle::cli {

// The second connection of --reconnect.
struct Reconnected {
  ConnectionState state;
  bool offered = false;  // There was a session to resume.
};

struct SessionReport {
  std::string target;  // As the user wrote it.
  std::string where;   // What it was.
  Verified verified = Verified::kYes;
  std::string error{};  // Why the handshake failed; empty if it did not.
  std::optional<Reconnected> again{};
};

// One object, pure ASCII. What there is not is null:
//   target, reached      as in SessionReport
//   error                why the handshake failed
//   version, cipher, group, signatureAlgorithm, alpn, serverName, resumed
//                        as in ConnectionState
//   verification         an object: requested (not with --insecure), verified (the peer is who it
//                        says), code (X509_V_ERR_...), depth, and subject, of the certificate that
//                        is to blame
//   certificates         those that the peer sent, as certificates_as_json() has them
//   verifiedChain        the "sha256" of each certificate from the peer's to the trusted one
//   reconnect            an object: offered (a session), resumed, version, cipher, group
std::string session_as_json(const Stream& stream, const SessionReport& report);

}  // namespace heddle::cli
