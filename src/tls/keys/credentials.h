// A certificate chain and its key, as OpenSSL has them.
#pragma once

#include "heddle/tls/certificate.h"

#include "openssl/handles.h"

namespace heddle::tls {

struct CredentialsData {
  openssl::X509Ptr leaf;
  openssl::KeyPtr key;
  openssl::X509StackPtr rest;  // Of the chain. Never null, so OpenSSL does not build one itself.
};

inline constexpr const char* kUseChain = "use the certificate chain";

}  // namespace heddle::tls
