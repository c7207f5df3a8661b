// What a Context holds beside the SSL_CTX.
#pragma once

#include "heddle/tls/context.h"

#include "openssl/handles.h"

namespace heddle::tls {

struct ContextState {
  Role role = Role::kClient;
  bool check_hostname = false;
  openssl::SslCtxPtr ctx;
};

}  // namespace heddle::tls
