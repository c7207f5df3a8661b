// Host names in SNI and in verification (RFC 6066, section 3; RFC 9525).
#include "tls/names.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "openssl/error.h"

namespace heddle::tls {
namespace {

Error invalid(const char* operation) {
  return {.code = Errc::kInvalid, .operation = operation};
}

struct FreeOctets {
  void operator()(ASN1_OCTET_STRING* octets) const noexcept { ASN1_OCTET_STRING_free(octets); }
};

bool is_ip_address(const std::string& name) {
  const std::unique_ptr<ASN1_OCTET_STRING, FreeOctets> octets(a2i_IPADDRESS(name.c_str()));
  return octets != nullptr;
}

}  // namespace

Result<void> set_peer_name(SSL* ssl, const ContextState& context, const std::string& name) {
  if (context.role == Role::kServer) {
    if (!name.empty()) return invalid("set server_name: only a client asks for one");
    return {};
  }
  if (name.empty()) {
    if (!context.check_hostname) return {};
    return invalid("set server_name: it is empty, but the context checks host names");
  }
  if (name.front() == '.' || name.find('\0') != std::string::npos || name.size() > 255) {
    return invalid("set server_name: not a host name");
  }
  X509_VERIFY_PARAM* const param = SSL_get0_param(ssl);
  if (is_ip_address(name)) {
    // RFC 6066 allows no IP address in SNI.
    if (context.check_hostname && X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str()) != 1) {
      return openssl::error_from_queue(Errc::kInvalid, "set server_name");
    }
    return {};
  }
  if (SSL_set_tlsext_host_name(ssl, name.c_str()) != 1) {
    return openssl::error_from_queue(Errc::kInvalid, "set server_name");
  }
  if (!context.check_hostname) return {};
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (X509_VERIFY_PARAM_set1_host(param, name.c_str(), name.size()) != 1) {
    return openssl::error_from_queue(Errc::kInvalid, "set server_name");
  }
  return {};
}

}  // namespace heddle::tls
