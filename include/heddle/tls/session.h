// Sessions: what a later connection needs to resume an earlier one, and the keys of the tickets
// that carry them.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "heddle/export.h"
#include "heddle/result.h"

using SSL_SESSION = struct ssl_session_st;

namespace heddle {

// Session is what two ends agreed on: version, cipher, secret, and the peer's certificate. Copies
// are cheap, and share one SSL_SESSION.
//
// Resuming a session skips certificates, names and trust. So a session resumes only where a full
// handshake would have been accepted too: it carries a digest of what was verified when it was
// made, as its session ID context (SSL_CTX_set_session_id_context(3)), which serialise() and
// tickets keep. The digest is made of
//   - the verify mode, the trusted certificates, the CRLs, and every other parameter of
//     verification (X509_VERIFY_PARAM_set_flags(3)) that OpenSSL lets us read;
//   - the folders in which OpenSSL looks for more, by name: what is in them may change;
//   - the certificate that this end shows, if Context::use_cert_chain() or load_cert_chain() gave
//     it (with several, the last one);
//   - clients: the name or IP address that they ask for;
//   - servers: the server name that the client sent. What a hello callback chose is in the above.
// It is the same in every process that is configured in the same way, and a Context that is
// changed, also through native_handle(), no longer takes its older sessions.
//
// Servers make a full handshake instead when the digests differ. The same holds when the peer's
// certificate has expired since, when VerifyMode::kRequired is set and the session holds no
// certificate (that of a PSK), and when a VerifyCallback refuses the stored certificate. Clients
// fail with kInvalid when the digests differ or the certificate has expired
// (StreamOptions::session): forget the session then, and connect without one.
//
// Contexts of other code (Context::adopt()): servers are treated alike, but an SSL_CTX whose own
// callbacks change the SSL_CTX or verify mode of a connection must call
// SSL_set_session_id_context(3) there. Clients leave the session ID context alone, since OpenSSL
// refuses a program's own PSK if it has another one; they verify the stored certificate and its
// name again whenever a session is offered. Every client does so with a session that other code
// made and that carries no session ID context.
//
// Threads: a Session may be used by several threads, like the SSL_SESSION in it.
class HEDDLE_API Session {
 public:
  // Takes a reference of its own. Precondition: `session` is not null.
  explicit Session(SSL_SESSION* session);

  // Reads what serialise() wrote (d2i_SSL_SESSION(3)). Fails with kInvalid.
  static Result<Session> parse(std::string_view der);

  // The session in DER, for a file or a store. Anyone who has these bytes can read the connections
  // of the session (TLS 1.2) and take the peer's place in resuming it: guard them like a key.
  std::string serialise() const;

  // Up to 32 bytes, of any value. On a client with a ticket it is a digest of the ticket.
  std::string id() const;
  std::chrono::system_clock::time_point time() const;  // When it was made.
  std::chrono::seconds timeout() const;                // For how long from then it may be resumed.
  // Clients: as the server advised; 0 without a ticket.
  std::chrono::seconds ticket_lifetime_hint() const;
  bool has_ticket() const;
  // False for a TLS 1.3 session before its ticket has come, and for one that was asked for after
  // its connection had failed.
  bool is_resumable() const;

  // Whether both are the same session: they have the same id, or none and share an SSL_SESSION. A
  // TLS 1.3 server makes several for one connection, one for each ticket.
  bool operator==(const Session& other) const;

  // For what has no call here. Stays owned by the Session.
  SSL_SESSION* native_handle() const noexcept { return session_.get(); }

 private:
  std::shared_ptr<SSL_SESSION> session_;
};

// TicketKey encrypts session tickets (RFC 5077, section 4): AES-256-CBC, then HMAC-SHA256. Servers
// that share their keys resume each other's sessions. Wiped when it goes.
struct HEDDLE_API TicketKey {
  std::array<std::byte, 16> name{};  // Sent in the clear in the ticket, to find the key.
  std::array<std::byte, 32> aes{};
  std::array<std::byte, 32> hmac{};

  TicketKey() = default;
  TicketKey(const TicketKey&) = default;
  TicketKey& operator=(const TicketKey&) = default;
  ~TicketKey();

  // Makes a new random key. Fails with kExhausted if no randomness is available.
  static Result<TicketKey> generate();

  // The three parts one after the other, 80 bytes, as nginx's ssl_session_ticket_key reads them.
  // Fails with kInvalid for any other size.
  static Result<TicketKey> parse(std::string_view bytes);
  std::string serialise() const;
};

// TicketRotation says how a server's Context changes the key of its tickets by itself. A key can
// decrypt every connection of TLS 1.2 whose ticket it has sealed, so it must not live for long.
//
// Keys come from OpenSSL's RAND_priv_bytes(3), live in memory only and are wiped when dropped. The
// key is changed by the first ticket that is made or received after its time, under a lock that is
// held for some hundred instructions: no timer is needed, and a server without clients keeps its
// last keys until the next one comes. The clock is the runtime's, or CLOCK_MONOTONIC without one.
struct TicketRotation {
  // How long a key seals tickets. Tickets that an older key has sealed are accepted, and replaced.
  std::chrono::seconds interval = std::chrono::hours(1);
  // For how long after that its tickets are accepted. Nothing: for the context's session timeout,
  // after which none of them is worth anything.
  std::optional<std::chrono::seconds> kept{};
};

// SessionCache says how many sessions a client's Context keeps (Context::set_session_cache()).
struct SessionCache {
  // Servers, by name, verification and StreamOptions::session_scope. If there are more, those that
  // were not connected to for the longest time are forgotten.
  std::size_t servers_max = 1000;
  // Of one server. In TLS 1.3 each session is used once, so this many connections can be resumed
  // at the same time; a server makes two for each, as a rule.
  std::size_t sessions_per_server = 4;
};

}  // namespace heddle
