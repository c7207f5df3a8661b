// What is verified unless a program says otherwise: by a Context, and without a connection.
#pragma once

#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/host_name.h"

namespace heddle::tls {

inline constexpr unsigned long kVerifyFlags =
    X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_X509_STRICT;
inline constexpr int kSecurityLevel = 2;

// Has the certificate verified for `host`. False if OpenSSL refuses it.
//
// Common names are for people (RFC 9525, section 2). OpenSSL takes them for host names where there
// is no other DNS name, also when there is an IP address.
inline bool verify_host(X509_VERIFY_PARAM* param, const Host& host) {
  X509_VERIFY_PARAM_set_hostflags(param, X509_VERIFY_PARAM_get_hostflags(param) |
                                             X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                             X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  return host.is_address() ? X509_VERIFY_PARAM_set1_ip_asc(param, host.name.c_str()) == 1
                           : X509_VERIFY_PARAM_set1_host(param, host.name.c_str(), 0) == 1;
}

}  // namespace heddle::tls
