// Evidence: what a connection remembers of its failure, beyond what an Error holds.
#pragma once

#include <string>

#include "heddle/error.h"

#include "openssl/handles.h"

namespace heddle::tls {

class Engine;

// What a peer may contribute to one line of a log, in bytes.
inline constexpr std::size_t kShownBytesMax = 160;

struct Evidence {
  // Of the certificate that did not verify.
  int verify_code = X509_V_OK;
  int depth = -1;       // Below 0: none in particular.
  std::string subject;  // Printable. Empty if it has none.
  // The certificates that the peer has sent, if they did not verify: servers of OpenSSL drop them.
  openssl::X509StackPtr sent;
  // The first line of a peer that does not speak TLS. Printable.
  std::string peer_text;
};

// The connection whose peer is verified (SSL_get_ex_data_X509_STORE_CTX_idx(3)).
SSL* ssl_of(const X509_STORE_CTX* store) noexcept;

// Makes verifications of the engine's connection leave evidence when they fail. What the SSL had as
// verify callback (SSL_set_verify(3)) is called as before, and decides; without one it is that of
// the certificate store, for which OpenSSL would have no use then. To be called once, before
// anything is verified. If other code sets another callback later, there is no evidence.
void watch_verification(Engine& engine);

// Notes the fatal alerts that OpenSSL sends on the engine's connection, which it tells nowhere but
// to an info callback. The one that the SSL has (SSL_set_info_callback(3)), or else its SSL_CTX, is
// called as before. If other code sets another one later, nothing is noted.
void watch_alerts(Engine& engine);

// The program's callback has judged the peer, whatever OpenSSL found: X509_V_OK forgets that.
void note_verdict(const SSL* ssl, const X509_STORE_CTX* store, int code) noexcept;

// A handshake has failed: keeps what the peer has sent, if that is not TLS.
void note_peer_text(Engine& engine) noexcept;

// Stream::explain(), but for transports that know more.
std::string explain(const Engine& engine, const Error& error);

}  // namespace heddle::tls
