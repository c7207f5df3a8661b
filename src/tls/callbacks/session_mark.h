// Which sessions a connection may resume: those for which a full handshake would have been
// accepted, too.
//
// Resuming skips certificates, trust and names. OpenSSL compares one thing, the session ID context
// (SSL_set_session_id_context(3)), which it keeps in sessions and tickets: on a server before it
// resumes, on a client when the server has agreed to. So that is a digest of all that a full
// handshake checks, the mark. Processes with the same configuration make the same marks.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "heddle/result.h"
#include "heddle/tls/session.h"

#include "openssl/handles.h"
#include "tls/state/trust_digest.h"

namespace heddle::tls {

inline constexpr const char* kSetSession = "set session";

// Marks the sessions that `ssl` makes, and so those that it resumes, with what it verifies and
// whom it shows: verify mode, trust, CRLs and all other parameters of verification, its
// certificate, and `peer_name`, which is whom a client asks for and under what name a server is
// asked. Returns the mark; nothing when out of memory.
std::optional<Sha256> mark_sessions(SSL* ssl, std::string_view peer_name);

// Makes a client, whose sessions have `mark` or none, ask to resume `session`. A session without a
// mark is another library's: its certificate is verified again. Fails with kInvalid if a full
// handshake might not have accepted the session. Callers hold an ErrorQueueScope.
Result<void> offer_session(SSL* ssl, const Session& session, const std::optional<Sha256>& mark);

// Has the sessions of a client, which have `mark`, kept in the cache of its context, and offers one
// that is there, unless there is one already. `scope` is StreamOptions::session_scope.
// Precondition: the context has a cache. Callers hold an ErrorQueueScope. Throws std::bad_alloc.
void offer_from_cache(SSL* ssl, const Sha256& mark, const std::string& scope);

// A copy of `session`, for the program: OpenSSL makes a session unusable when a connection that has
// it ends without close_notify, which anybody on the way can bring about. Throws std::bad_alloc.
Session copy_of(const SSL_SESSION* session);

// Whether a server may resume `session`, which it has found or decrypted: not if its certificate
// has expired, is missing though one is required, or is refused by the verify callback. May park.
bool may_resume(SSL* ssl, SSL_SESSION* session);

}  // namespace heddle::tls
