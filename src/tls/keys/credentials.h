// Certificate chains and their keys, as OpenSSL has them.
#pragma once

#include <memory>
#include <vector>

#include "heddle/tls/certificate.h"

#include "openssl/handles.h"

namespace heddle::tls {

struct CredentialChain {
  openssl::X509Ptr leaf;
  openssl::KeyPtr key;
  openssl::X509StackPtr rest;  // Of the chain. Never null, so OpenSSL does not build one itself.
};

// At least one, each with a key of another type.
struct CredentialsData {
  std::vector<std::shared_ptr<const CredentialChain>> chains;
};

// Makes `ssl` show all of them, in place of what it has for keys of the same types. False if
// OpenSSL refuses one. Callers hold an ErrorQueueScope.
bool show(SSL* ssl, const CredentialsData& data);

inline constexpr const char* kUseChain = "use a certificate chain";

}  // namespace heddle::tls
