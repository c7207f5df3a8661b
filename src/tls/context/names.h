// Whom a client asks for, and whom the certificate must be for.
#pragma once

#include <string>

#include "heddle/result.h"

#include "openssl/handles.h"
#include "tls/state/context_state.h"

namespace heddle::tls {

inline constexpr const char* kSetServerName = "set server_name";

// Sets SNI and the name to verify. Returns the name in its one form, empty if there is none. Fails
// with kInvalid for a name that cannot be one, a missing name where the context checks names, or a
// name on a server. Callers hold an ErrorQueueScope.
Result<std::string> set_peer_name(SSL* ssl, const ContextState& context, const std::string& name);

// Lets "*.example.test" stand for "foo_bar.example.test", the name that set_peer_name() has set.
// X509_check_host(3) lets an asterisk stand for letters, digits and hyphens only, though names with
// underscores are common and other libraries accept them. So a second name is accepted, whose first
// label is random: no certificate but one with the asterisk can be for it. Returns false without
// randomness or memory. To be called after mark_sessions(), since it is another one each time.
bool let_wildcards_match(SSL* ssl);

}  // namespace heddle::tls
