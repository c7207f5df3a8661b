// Calls that only contexts of one role have.
#pragma once

#include "heddle/tls/context.h"

#include "base/die.h"

namespace heddle::tls {

// Ends the process unless `context`, whose `call` it is, has the role. Inline: a line, and cold.
inline void only_for(Role role, const Context& context, const char* call) {
  if (context.role() == role) [[likely]]
    return;
  const bool servers = role == Role::kServer;
  die("%s on a %s context: it is for %ss; create that with Role::%s", call,
      servers ? "client" : "server", servers ? "server" : "client",
      servers ? "kServer" : "kClient");
}

}  // namespace heddle::tls
