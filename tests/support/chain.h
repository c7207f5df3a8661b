// Certificate chains of any shape, made at run time: expired ones, oddly named ones, ones that
// break RFC 5280.
#pragma once

#include <initializer_list>
#include <string>

#include "heddle/tls/context.h"

#include "openssl/handles.h"

namespace heddle::test {

struct Issued {
  openssl::X509Ptr certificate;
  openssl::KeyPtr key;
};

struct Wanted {
  std::string common_name;  // Any bytes, said to be UTF-8.
  bool is_ca = false;       // Others are for kServerName.
  bool has_expired = false;
  long valid_in_seconds = -2 * 3600;  // From now on.
  const char* not_after =
      nullptr;  // As OpenSSL writes a GeneralizedTime, instead of an hour from now.
  const char* extended_key_usage = nullptr;
  bool is_strict = true;  // If not, it lacks what RFC 5280 wants: keyUsage, authorityKeyIdentifier.
};

// Without an issuer it signs itself.
Issued issue(const Wanted& wanted, const Issued* issuer = nullptr);

// The certificate and its key.
std::string pem_of(const Issued& issued);

// Makes `context` trust that certificate.
void trust(const Context& context, const Issued& root);

// Makes `context` show `leaf`, and send `others` along.
void show(const Context& context, const Issued& leaf, std::initializer_list<const Issued*> others);

}  // namespace heddle::test
