// Whom a client asks for, and whom the certificate must be for.
#pragma once

#include <string>

#include "heddle/result.h"
#include "heddle/tls/session.h"

#include "openssl/handles.h"
#include "tls/context_state.h"

namespace heddle::tls {

// Sets SNI and the name to verify. Fails with kInvalid for a name that cannot be
// one, a missing name where the context checks names, or a name on a server.
// Callers hold an ErrorQueueScope.
Result<void> set_peer_name(SSL* ssl, const ContextState& context, const std::string& name);

// Makes a client ask to resume `session`. Fails with kInvalid for a server, a session of another
// host, or one whose peer was not verified though the context asks for it. The same holds.
Result<void> offer_session(SSL* ssl, const ContextState& context, const Session& session);

}  // namespace heddle::tls
