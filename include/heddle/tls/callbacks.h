// Callbacks: functions of the program's that a TLS connection calls while it works.
//
// Fibers:   each runs on the fiber that drives the connection, within OpenSSL, and may park there:
//   wait for another TLS connection, lock a mutex, sleep. Other fibers go on meanwhile. Only those
//   who want the same connection wait until the callback has returned; the callback itself must
//   not use it (its Stream's calls fail with kInvalid).
// Threads:  a Context may serve several threads, and then its callbacks are called by all of them.
//   Set them before the first Stream is made; only ticket keys may change later.
// Lifetime: what a callback gets by reference or view is valid until it returns. The function
//   itself lives as long as anything uses the Context.
// Errors:   every callback can return an Error. It ends the connection, as an exception does that
//   the callback throws, and comes out of the call of Stream that drove it, whole: with its code
//   and its context (Error::with()). The peer gets an alert, internal_error where nothing else is
//   said. Where OpenSSL asks for no outcome (new sessions, key log) there is no alert. A
//   SessionStore is the exception: it may fail, and the connection does without it. In an SSL that
//   no Stream drives, OpenSSL's error queue has the Error's message, or what was thrown.
// What a callback leaves in the thread's OpenSSL error queue is dropped when it returns, and does
// not change OpenSSL's opinion of the connection.
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

  // Servers: the name that the client asks for, as it was sent (compare without regard to case, or
  // a dot at the end); empty if it sent none. It consists of letters, digits, '-', '_' and '.', but
  // need not be anybody's name: "..", say. Contexts of other code that have no hello callback of
  // ours do not look at it. Clients: the name that they ask for.
  std::string_view server_name() const { return server_name_; }

  // The CAs whose certificates the peer has said it wants (Context::add_ca_names()), as RFC 2253
  // writes names, safe to log; empty if it has not said.
  std::vector<std::string> ca_names() const;

  // When the call of Stream that drives the connection gives up: pass it to what the callback
  // waits for. Never, if no Stream drives it.
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

// ClientHello is what a client has said first. Numbers are IANA's, in the client's order, and may
// hold values that mean nothing (RFC 8701).
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

// HelloAnswer is what a server makes of a ClientHello.
class HEDDLE_API HelloAnswer {
 public:
  static HelloAnswer go_on() { return {}; }

  // Goes on with another context: its certificates, trust, verify mode, versions, ciphers, ALPN,
  // PSK and callbacks. Groups, sessions and tickets stay those of the Stream's own context.
  // Precondition: a server's.
  static HelloAnswer use(const Context& context);

  static HelloAnswer refuse(Alert alert);

 private:
  friend class tls::Access;
  std::shared_ptr<const tls::ContextState> context_;
  std::optional<Alert> alert_;
};

// Servers: a client has said hello. First of all callbacks: version, session and certificate are
// not chosen yet. Called once per connection, also when the client has to say hello again
// (HelloRetryRequest), which it must do with the same name.
//
// Sessions resume only where the same is chosen again (heddle/tls/session.h).
using ClientHelloCallback = std::function<Result<HelloAnswer>(const ClientHello&)>;

// Servers: the same for clients that send a server name (SNI), after the one before if both are
// there and that goes on.
using ServerNameCallback = std::function<Result<HelloAnswer>(const ClientHello&)>;

// Chooses the certificate of this connection. Servers: after the above, whatever they chose, unless
// a session is resumed. Clients: when the server asks for a certificate. Nothing: what the context
// has.
using CertificateCallback =
    std::function<Result<std::optional<Credentials>>(const ConnectionView&)>;

// Servers: chooses one of the protocols that the client offers (RFC 7301); nothing goes on without.
// An Error, also the one for a protocol that was not offered, is alert no_application_protocol.
using AlpnCallback = std::function<Result<std::optional<std::string>>(
    const ConnectionView&, std::span<const std::string_view> offered)>;

// Servers: the OCSP response (DER) to staple, for SSL_get_certificate(native_handle()), when the
// client asks for one (RFC 6066, section 8). Nothing: none is sent. Bytes that are no OCSPResponse
// (RFC 6960, section 4.2.1) end the handshake with kInvalid.
using OcspRequestCallback =
    std::function<Result<std::optional<std::string>>(const ConnectionView&)>;

// Clients: whether the stapled response is good enough; `der` is empty if there is none. The chain
// has been verified. False is alert bad_certificate_status_response. Not called when a session is
// resumed.
using OcspResponseCallback =
    std::function<Result<bool>(const ConnectionView&, std::string_view der)>;

// PeerChain is the peer's certificate chain and what OpenSSL thinks of it.
class HEDDLE_API PeerChain {
 public:
  explicit PeerChain(X509_STORE_CTX* store) : store_(store) {}

  int verdict() const;  // X509_V_OK, or the first error: X509_V_ERR_...
  int depth() const;    // Of the certificate with that error; 0 is the peer's.
  // The chain to its anchor, the peer's first, or what could be built of it.
  std::vector<Certificate> certificates() const;

  // For what has no call here (X509_STORE_CTX_get0_chain(3)).
  X509_STORE_CTX* native_handle() const noexcept { return store_; }

 private:
  X509_STORE_CTX* store_;
};

// Verifies the peer, after OpenSSL has: returns `verdict()` to agree, X509_V_OK to accept all the
// same, an X509_V_ERR_... to refuse (kUntrusted with this verify code, and the alert that goes with
// it; X509_V_ERR_APPLICATION_VERIFICATION if nothing fits). Not called for a peer without a
// certificate. Under VerifyMode::kNone a client accepts what is refused.
//
// Also called before a session is resumed: by a client when it is about to offer it, by a server
// that verifies peers when it has found it. The chain is the peer's certificate alone then, and the
// verdict X509_V_OK, since it was accepted when the session was made. To refuse it there makes a
// full handshake, in which the callback is called again and has the last word. A client asks with
// an info callback of the SSL (SSL_set_info_callback(3)), a server with the ticket callback of the
// SSL_CTX (SSL_CTX_set_session_ticket_cb(3)): do not replace them.
using VerifyCallback = std::function<Result<int>(const ConnectionView&, const PeerChain&)>;

// Gets each line of the key log, without the end of the line: with it, whoever has recorded the
// connection can read it. For debugging only (the SSLKEYLOGFILE format, RFC 9850). To go on without
// a line that cannot be kept, return success.
using KeyLogCallback = std::function<Result<void>(const ConnectionView&, std::string_view line)>;

// Psk is a key that both ends have from elsewhere; it replaces certificates. TLS 1.2 has suites of
// its own for that, which are not in the default list of ciphers. on_psk_client() and
// on_psk_server() add those that have AEAD or SHA-2, forward secrecy first, to a list without any;
// set_ciphers() after them has the last word.
// NOLINTNEXTLINE(cppcoreguidelines-special-member-functions): an aggregate, whose copies are right.
struct HEDDLE_API Psk {
  // The hash that TLS 1.3 uses the key with (RFC 8446, section 4.2.11). A server that chooses a
  // ciphersuite with another one falls back to its certificate: let set_ciphersuites() put those
  // of the hash first, such as TLS_AES_128_GCM_SHA256.
  enum class Hash : std::uint8_t { kSha256, kSha384 };

  std::string identity;  // At most 128 bytes. Not needed in a server's answer.
  std::string key;       // At most 256 bytes; 32 random ones are good.
  Hash hash = Hash::kSha256;

  // Wipes the key.
  ~Psk();
};

// Clients: the key to offer. TLS 1.3 asks before the ClientHello; nothing: no key is offered. TLS
// 1.2 asks when a PSK cipher was chosen, with the server's `hint`; nothing ends the handshake.
using PskClientCallback =
    std::function<Result<std::optional<Psk>>(const ConnectionView&, std::string_view hint)>;

// Servers: the key of a client that says it is `identity`. Nothing: not known. TLS 1.3 goes on with
// certificates then; TLS 1.2 ends with alert unknown_psk_identity.
using PskServerCallback =
    std::function<Result<std::optional<Psk>>(const ConnectionView&, std::string_view identity)>;

// One message of the protocol, as OpenSSL tells of it (SSL_CTX_set_msg_callback(3)).
struct TlsMessage {
  bool sent = false;  // By this end; else received.
  int version = 0;    // 0x0303 is TLS 1.2; 0 for the header of a record.
  int content_type =
      0;  // RFC 8446, section 5.1: 22 is handshake, 21 alert. 256: a record's header.
  std::span<const std::byte> bytes;
};

// Sees every message of the handshake, and alerts, as they are before encryption, in both
// directions. For debugging: it must not park, which ends the process, and is called in the middle
// of reading and writing. An Error, and what it throws, ends the connection.
using MessageCallback = std::function<Result<void>(const ConnectionView&, const TlsMessage&)>;

// A client has got a session that it may resume later: in TLS 1.2 at the end of the handshake, in
// TLS 1.3 in the read() that reads a ticket, once per ticket. A ticket that is renewed when a
// TLS 1.2 session is resumed is not told of: Stream::session() has it. To go on without a session
// that cannot be kept, return success.
using NewSessionCallback = std::function<Result<void>(const ConnectionView&, const Session&)>;

// SessionStore keeps a server's sessions outside of the process, so that several may share them.
//
// The sessions are stateful then: what a client gets is the key under which its session lies in the
// store, and there are no tickets. OpenSSL keeps no session of its own.
//
// A store that fails costs full handshakes and no connection: an Error that a function returns goes
// to `on_error`, and the connection goes on without the session. An exception ends the connection,
// as in any callback.
struct SessionStore {
  // Keeps `session` under `session.id()`, for `session.timeout()`. In TLS 1.3 called for each of
  // the context's set_num_tickets(). After an Error the client has an id that get() will not find.
  std::function<Result<void>(const ConnectionView&, const Session& session)> put;

  // Finds the session that a client asks for; nothing makes a full handshake, and so does an Error.
  std::function<Result<std::optional<Session>>(const ConnectionView&, std::string_view id)> get;

  // Forgets a session with which something went wrong (a fatal alert, a cut connection). OpenSSL
  // says so at times when nothing may wait: under its lock, or in a destructor. So it is noted,
  // and this is called outside of OpenSSL at the end of the next handshake() or close() of any
  // Stream of the context, handshake() or shutdown() of any SslObject. If there is none for long,
  // the newest 4096 are kept. That connection is another one, so what this throws is dropped, and
  // the other sessions are removed. The store forgets such a session anyway once `timeout()` has
  // passed. Optional.
  std::function<Result<void>(std::string_view id, Deadline deadline)> remove{};

  // Called with each Error that `put`, `get` or `remove` returns, on the same fiber, right after
  // it. May do what they may; what it throws counts as thrown by them. Optional.
  std::function<void(const Error& error)> on_error{};
};

// A store in the memory of this process, for Context::set_session_store(). Contexts of several
// runtimes and threads may have copies, which are one store. It holds up to `sessions_max` sessions
// (some 500 bytes each, and the client's certificate), and forgets those that have timed out, and
// then the oldest. Its functions never park.
HEDDLE_API SessionStore memory_session_store(std::size_t sessions_max = 20000);

// The keys for session tickets now: the first makes new ones, all open those that come. None: no
// tickets are made, and none is accepted. Called for each ticket made or received. An Error ends
// the connection: to go on with full handshakes while there are no keys to be had, return none.
using TicketKeysCallback = std::function<Result<std::vector<TicketKey>>(const ConnectionView&)>;

}  // namespace heddle
