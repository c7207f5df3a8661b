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
// Errors:   an Error that a callback returns, or an exception that it throws, ends the handshake
//   and comes out of the call of Stream that drove it. The peer gets an alert, internal_error
//   where nothing else is said. Where OpenSSL asks for no outcome (new sessions, key log) there
//   is no alert. In an SSL that no Stream drives, OpenSSL's error queue says what was thrown.
// What a callback leaves in the thread's OpenSSL error queue is dropped when it returns, and does
// not change OpenSSL's opinion of the connection.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/tls/session.h"

using SSL = struct ssl_st;

namespace heddle {

// Connection is what a callback sees of the connection that called it.
class Connection {
 public:
  explicit Connection(SSL* ssl);

  // Servers: the name that the client asks for, as it was sent (compare without regard to case);
  // empty if it sent none. Clients: the name that they ask for.
  std::string_view server_name() const { return server_name_; }

  // When the call of Stream that drives the connection gives up: pass it to what the callback
  // waits for. Never, if no Stream drives it.
  Deadline deadline() const { return deadline_; }

  // For what has no call here. Never make I/O calls with it.
  SSL* native_handle() const noexcept { return ssl_; }

 protected:
  Connection(SSL* ssl, std::string_view server_name);

 private:
  SSL* ssl_;
  std::string_view server_name_;
  Deadline deadline_;
};

// A client has got a session that it may resume later: in TLS 1.2 at the end of the handshake, in
// TLS 1.3 in the read() that reads a ticket, once per ticket. A ticket that is renewed when a
// TLS 1.2 session is resumed is not told of: Stream::session() has it.
using NewSessionCallback = std::function<void(const Connection&, const Session&)>;

// SessionStore keeps a server's sessions outside of the process, so that several may share them.
//
// The sessions are stateful then: what a client gets is the key under which its session lies in the
// store, and there are no tickets. OpenSSL keeps no session of its own.
struct SessionStore {
  // Keeps `session` under `session.id()`, for `session.timeout()`. In TLS 1.3 called for each of
  // the context's set_num_tickets().
  std::function<void(const Connection&, const Session& session)> put;

  // Finds the session that a client asks for; nothing makes a full handshake.
  std::function<std::optional<Session>(const Connection&, std::string_view id)> get;

  // Forgets a session with which something went wrong (a fatal alert, a cut connection). OpenSSL
  // says so at times when nothing may wait: under its lock, or in a destructor. So it is noted,
  // and this is called outside of OpenSSL at the end of the next handshake() or close() of any
  // Stream of the context; what it throws comes out of there. Optional.
  std::function<void(std::string_view id, Deadline deadline)> remove;
};

// The keys for session tickets now: the first makes new ones, all open those that come. None: no
// tickets are made, and none is accepted. Called for each ticket made or received.
using TicketKeysCallback = std::function<Result<std::vector<TicketKey>>(const Connection&)>;

}  // namespace heddle
