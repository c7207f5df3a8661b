// What a Context holds beside the SSL_CTX.
#pragma once

#include <cstddef>
#include <memory>

#include "heddle/result.h"
#include "heddle/tls/context.h"
#include "heddle/tls/ktls.h"

#include "openssl/handles.h"

namespace heddle::tls {

// ContextState belongs to the SSL_CTX, which frees it last of all: OpenSSL calls back with it as
// long as there is a connection, also one that other code has taken over, and whoever's the
// SSL_CTX is. A Context holds a reference to the SSL_CTX.
struct ContextState {
  Role role = Role::kClient;
  bool check_hostname = false;
  bool post_handshake_auth = false;  // As a Context has set it.
  KernelTls kernel_tls = KernelTls::kOff;
  std::size_t record_padding = 0;  // As a Context has set it.
  SSL_CTX* ctx = nullptr;          // Owns this.
};

// Returns the state of `ctx` for connections in `role`; it gets one if it has none. The pointer
// keeps `ctx` alive. Fails with kExhausted. Callers hold an ErrorQueueScope.
Result<std::shared_ptr<ContextState>> state_of(openssl::SslCtxPtr ctx, Role role);

}  // namespace heddle::tls
