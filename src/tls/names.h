// Whom a client asks for, and whom the certificate must be for.
#pragma once

#include <string>

#include "heddle/result.h"

#include "openssl/handles.h"
#include "tls/context_state.h"

namespace heddle::tls {

// Sets SNI and the name to verify. Fails with kInvalid for a name that cannot be
// one, a missing name where the context checks names, or a name on a server.
// Callers hold an ErrorQueueScope.
Result<void> set_peer_name(SSL* ssl, const ContextState& context, const std::string& name);

}  // namespace heddle::tls
