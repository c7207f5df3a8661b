// The settings that a Context begins with.
#pragma once

#include "heddle/tls/context.h"

namespace heddle::tls {

// Those of Context::create(), except for trust. Callers hold an ErrorQueueScope.
void set_defaults(SSL_CTX* ctx, Role role);

// The groups among them. False if this OpenSSL has none of them. Callers hold an ErrorQueueScope.
bool set_default_groups(SSL_CTX* ctx);

}  // namespace heddle::tls
