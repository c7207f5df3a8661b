// Callbacks: functions of the program that a TLS connection calls while it works.
//
// Fibers:   each runs on the fiber that drives the connection, within OpenSSL, and may park there:
//   wait for another TLS connection, lock a mutex, sleep. Other fibers go on meanwhile. Only fibers
//   that want the same connection wait until the callback has returned; the callback itself must
//   not use that connection (the calls of its Stream fail with kInvalid).
// Threads:  a Context may serve several threads, and then its callbacks are called by all of them.
//   Set them before the first Stream is made; only ticket keys may change later.
// Lifetime: what a callback gets by reference or view is valid until it returns. The function
//   itself lives as long as anything uses the Context.
// Errors:   every callback can return an Error. Like an exception that the callback throws, it ends
//   the connection, and it comes out of the call of Stream that drove the connection, with its code
//   and its context (Error::with()). The peer gets an alert, internal_error unless a callback says
//   otherwise below. Where OpenSSL expects no outcome (new sessions, key log) there is no alert. A
//   SessionStore is the exception: it may fail, and the connection goes on without it. For an SSL
//   that no Stream drives, the message of the Error, or of what was thrown, is put into OpenSSL's
//   error queue.
// What a callback leaves in the thread's OpenSSL error queue is dropped when it returns, and does
// not affect how OpenSSL judges the connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/session.h"

using SSL = struct ssl_st;
using X509_STORE_CTX = struct x509_store_ctx_st;

namespace heddle {

class Context;

namespace tls {
class Access;
struct ContextState;
}  // namespace tls

// ConnectionView is what a callback sees of the connection that called it.
class HEDDLE_API ConnectionView {
 public:
  explicit ConnectionView(SSL* ssl);

  // Servers: the name that the client asks for, as it was sent (ignore case and a trailing dot when
  // you compare it); empty if it sent none. It consists of letters, digits, '-', '_' and '.', but
  // need not be a real name: ".." is possible. Contexts of other code to which no hello callback
  // was given here do not check it. Clients: the name that they ask for.
  std::string_view server_name() const { return server_name_; }

  // The CAs whose certificates the peer says it wants (Context::add_ca_names()), in the form of RFC
  // 2253, safe to log; empty if it names none.
  std::vector<std::string> ca_names() const;

  // The deadline of the call of Stream that drives the connection; Deadline::never() if no Stream
  // does. Pass it to the calls in which the callback waits.
  Deadline deadline() const { return deadline_; }

  // For what has no call here. Never make I/O calls with it.
  SSL* native_handle() const noexcept { return ssl_; }

 protected:
  ConnectionView(SSL* ssl, std::string_view server_name);

 private:
  SSL* ssl_;
  std::string_view server_name_;
  Deadline deadline_;
};

// Alert says why a handshake is refused (RFC 8446, section 6.2).
enum class Alert : std::uint8_t {
  kHandshakeFailure = 40,
  kIllegalParameter = 47,
  kAccessDenied = 49,
  kProtocolVersion = 70,
  kInsufficientSecurity = 71,
  kInternalError = 80,
  kUnrecognizedName = 112,
};

// ClientHello is a client's first message. Numbers are IANA's, in the client's order, and may
// include values that mean nothing (RFC 8701).
class HEDDLE_API ClientHello : public ConnectionView {
 public:
  explicit ClientHello(SSL* ssl);

  std::vector<std::uint16_t> versions() const;  // 0x0304 is TLS 1.3.
  std::vector<std::uint16_t> ciphers() const;
  std::vector<std::uint16_t> groups() const;
  std::vector<std::uint16_t> signature_algorithms() const;
  std::vector<std::string_view> alpn() const;

  // The content of an extension; nothing if it was not sent.
  std::optional<std::string_view> extension(std::uint16_t type) const;
};

// HelloAnswer is what a server decides about a ClientHello.
class HEDDLE_API HelloAnswer {
 public:
  static HelloAnswer go_on() { return {}; }

  // Goes on with another context: its certificates, trust, verify mode, versions, ciphers, ALPN,
  // PSK and callbacks. Groups, sessions and tickets stay those of the Stream's own context.
  // Precondition: it is a server's.
  static HelloAnswer use(const Context& context);

  static HelloAnswer refuse(Alert alert);

 private:
  friend class tls::Access;
  std::shared_ptr<const tls::ContextState> context_;
  std::optional<Alert> alert_;
};

// Servers: called when the ClientHello has come, before all other callbacks: version, session and
// certificate are not chosen yet. Called once per connection, even when the client has to send
// another hello (HelloRetryRequest), which must have the same name.
//
// Sessions resume only if the same is chosen again (heddle/tls/session.h).
using ClientHelloCallback = std::function<Result<HelloAnswer>(const ClientHello&)>;

// Servers: like ClientHelloCallback, but called only for clients that send a server name (SNI). If
// both are set, it runs second, and only if the first returned go_on().
using ServerNameCallback = std::function<Result<HelloAnswer>(const ClientHello&)>;

// Chooses the certificate of this connection. Servers: called after the two above, whatever they
// chose, unless a session is resumed. Clients: called when the server asks for a certificate.
// Nothing: the context's own.
using CertificateCallback =
    std::function<Result<std::optional<Credentials>>(const ConnectionView&)>;

// Servers: chooses one of the protocols that the client offers (RFC 7301); nothing goes on without
// a protocol. An Error sends alert no_application_protocol, and so does a protocol that was not
// offered.
using AlpnCallback = std::function<Result<std::optional<std::string>>(
    const ConnectionView&, std::span<const std::string_view> offered)>;

// Servers: called when the client asks for an OCSP response (RFC 6066, section 8); returns the one
// (DER) to staple, for SSL_get_certificate(native_handle()). Nothing: none is sent. Bytes that are
// not an OCSPResponse (RFC 6960, section 4.2.1) end the handshake with kInvalid.
using OcspRequestCallback =
    std::function<Result<std::optional<std::string>>(const ConnectionView&)>;

// Clients: returns whether the stapled response is acceptable; `der` is empty if there is none. The
// chain has been verified before. False sends alert bad_certificate_status_response. Not called
// when a session is resumed.
using OcspResponseCallback =
    std::function<Result<bool>(const ConnectionView&, std::string_view der)>;

// PeerChain is the peer's certificate chain and OpenSSL's verdict on it.
class HEDDLE_API PeerChain {
 public:
  explicit PeerChain(X509_STORE_CTX* store) : store_(store) {}

  int verdict() const;  // X509_V_OK, or the first error: X509_V_ERR_...
  int depth() const;    // Of the certificate with that error; 0 is the peer's.
  // The chain up to its anchor, the peer's first, or as much of it as could be built.
  std::vector<Certificate> certificates() const;

  // For what has no call here (X509_STORE_CTX_get0_chain(3)).
  X509_STORE_CTX* native_handle() const noexcept { return store_; }

 private:
  X509_STORE_CTX* store_;
};

// Verifies the peer after OpenSSL has: returns `verdict()` to agree, X509_V_OK to accept the peer
// in any case, an X509_V_ERR_... to refuse it (kUntrusted with this verify code, and the alert that
// goes with it; use X509_V_ERR_APPLICATION_VERIFICATION if no other code fits). Not called for a
// peer without a certificate. Under VerifyMode::kNone a client accepts even a peer that was
// refused.
//
// Also called before a session is resumed: on a client when it is about to offer the session, on a
// server that verifies peers when it has found the session. The chain is then the peer's
// certificate alone, and the verdict X509_V_OK, since the certificate was accepted when the session
// was made. Refusing it there leads to a full handshake, in which the callback is called again and
// has the last word. For this a client uses the info callback of the SSL
// (SSL_set_info_callback(3)), and a server the ticket callback of the SSL_CTX
// (SSL_CTX_set_session_ticket_cb(3)): do not replace them.
using VerifyCallback = std::function<Result<int>(const ConnectionView&, const PeerChain&)>;

// Gets each line of the key log, without its line break. With the key log, anyone who has recorded
// the connection can read it: for debugging only (the SSLKEYLOGFILE format, RFC 9850). If a line
// cannot be stored, return success to go on without it.
using KeyLogCallback = std::function<Result<void>(const ConnectionView&, std::string_view line)>;

// Psk is a key that both ends have from elsewhere; it replaces certificates. TLS 1.2 has separate
// suites for that, which are not in the default list of ciphers. If the list has none,
// on_psk_client() and on_psk_server() add those with AEAD or SHA-2, forward secrecy first; a later
// set_ciphers() replaces the list.
// NOLINTNEXTLINE(cppcoreguidelines-special-member-functions): an aggregate, whose copies are right.
struct HEDDLE_API Psk {
  // The hash that TLS 1.3 uses the key with (RFC 8446, section 4.2.11). A server that chooses a
  // ciphersuite with another hash falls back to its certificate: use set_ciphersuites() to put
  // those with this hash first, such as TLS_AES_128_GCM_SHA256.
  enum class Hash : std::uint8_t { kSha256, kSha384 };

  std::string identity;  // At most 128 bytes. Not needed in a server's answer.
  std::string key;       // At most 256 bytes; 32 random ones are good.
  Hash hash = Hash::kSha256;

  // Wipes the key.
  ~Psk();
};

// Clients: returns the key to offer. In TLS 1.3 it is called before the ClientHello; if it returns
// nothing, no key is offered. In TLS 1.2 it is called once a PSK cipher was chosen, with the
// server's `hint`; if it returns nothing, the handshake ends.
using PskClientCallback =
    std::function<Result<std::optional<Psk>>(const ConnectionView&, std::string_view hint)>;

// Servers: returns the key of a client that says it is `identity`; nothing if that is unknown. TLS
// 1.3 then goes on with certificates; TLS 1.2 ends with alert unknown_psk_identity.
using PskServerCallback =
    std::function<Result<std::optional<Psk>>(const ConnectionView&, std::string_view identity)>;

// One message of the protocol, as OpenSSL reports it (SSL_CTX_set_msg_callback(3)).
struct TlsMessage {
  bool sent = false;  // By this end; else received.
  int version = 0;    // 0x0303 is TLS 1.2; 0 for the header of a record.
  int content_type =
      0;  // RFC 8446, section 5.1: 22 is handshake, 21 alert. 256: a record's header.
  std::span<const std::byte> bytes;
};

// Gets every message of the handshake, and alerts, in both directions, as they are without
// encryption. For debugging: it is called in the middle of reading and writing, and must not park,
// which ends the process. An Error, or what it throws, ends the connection.
using MessageCallback = std::function<Result<void>(const ConnectionView&, const TlsMessage&)>;

// Clients: called with a session that may be resumed later: in TLS 1.2 at the end of the handshake,
// in TLS 1.3 in the read() that reads a ticket, once per ticket. It is not called for a ticket that
// is renewed when a TLS 1.2 session is resumed: Stream::session() has that. If a session cannot be
// stored, return success to go on without it.
using NewSessionCallback = std::function<Result<void>(const ConnectionView&, const Session&)>;

// SessionStore keeps a server's sessions outside the process, so that several processes may share
// them.
//
// Such sessions are stateful: a client gets the key under which the store has its session, and
// there are no tickets. OpenSSL itself keeps no session.
//
// A store that fails costs full handshakes but no connection: an Error that a function returns goes
// to `on_error`, and the connection goes on without the session. An exception ends the connection,
// as in any callback.
struct SessionStore {
  // Keeps `session` under `session.id()`, for `session.timeout()`. In TLS 1.3 it is called as many
  // times per handshake as the context's set_num_tickets() says. After an Error the client has an
  // id that get() will not find.
  std::function<Result<void>(const ConnectionView&, const Session& session)> put;

  // Finds the session that a client asks for. Nothing, or an Error, leads to a full handshake.
  std::function<Result<std::optional<Session>>(const ConnectionView&, std::string_view id)> get;

  // Forgets a session after a failure (a fatal alert, a cut connection). OpenSSL reports that at
  // times when nothing may wait: under its lock, or in a destructor. So it is noted, and this is
  // called outside OpenSSL, at the end of the next handshake() or close() of any Stream of the
  // context, or handshake() or shutdown() of any SslObject. Until then the newest 4096 are kept.
  // The session is not that connection's, so what this throws is dropped, and the other sessions
  // are removed. The store forgets such a session anyway once `timeout()` has passed. Optional.
  std::function<Result<void>(std::string_view id, Deadline deadline)> remove{};

  // Called with each Error that `put`, `get` or `remove` returns, on the same fiber, right after
  // it. It may do what they may; what it throws counts as thrown by them. Optional.
  std::function<void(const Error& error)> on_error{};
};

// A store in the memory of this process, for Context::set_session_store(). Contexts of several
// runtimes and threads may have copies, which are one store. It holds up to `sessions_max` sessions
// (some 500 bytes each, and the client's certificate), and forgets those that have timed out, and
// then the oldest. Its functions never park.
HEDDLE_API SessionStore memory_session_store(std::size_t sessions_max = 20000);

// Returns the current keys for session tickets: the first encrypts new tickets, and all of them
// decrypt those that clients send. No keys: no tickets are made or accepted. Called for each ticket
// made or received. An Error ends the connection: return no keys to go on with full handshakes
// while keys are not available.
using TicketKeysCallback = std::function<Result<std::vector<TicketKey>>(const ConnectionView&)>;

}  // namespace heddle
