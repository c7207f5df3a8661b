// What a Context holds beside the SSL_CTX.
#pragma once

#include <string>

#include "heddle/tls/context.h"
#include "heddle/tls/ktls.h"

#include "openssl/handles.h"

namespace heddle::tls {

struct ContextState {
  Role role = Role::kClient;
  bool check_hostname = false;
  KernelTls kernel_tls = KernelTls::kOff;
  std::string alpn;  // In wire form.
  openssl::SslCtxPtr ctx;
};

}  // namespace heddle::tls
