// Host names in SNI and in verification (RFC 6066, section 3; RFC 9525).
#include "tls/context/names.h"

#include <array>

#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/host_name.h"
#include "openssl/error.h"
#include "tls/state/callback_state.h"
#include "tls/x509/verify_as_default.h"

namespace heddle::tls {
namespace {

Error invalid(const char* detail) {
  return {.code = Errc::kInvalid, .operation = kSetServerName, .detail = detail};
}

}  // namespace

Result<std::string> set_peer_name(SSL* ssl, const ContextState& context, const std::string& name) {
  if (context.role == Role::kServer) {
    if (!name.empty()) return invalid("only a client asks for one");
    return std::string();
  }
  if (name.empty()) {
    if (!context.check_hostname) return std::string();
    return invalid("it is empty, but the context checks host names");
  }
  if (context.check_hostname && CallbackState::of(context.ctx).is_ours &&
      (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) == 0) {
    return invalid(
        "the context checks host names but no certificates (VerifyMode::kNone): "
        "set_check_hostname(false) as well");
  }
  const Result<Host> host = Host::parse(name);
  if (!host) return host.error();
  // RFC 6066 allows no IP address in SNI.
  bool is_set = host->is_address() || SSL_set_tlsext_host_name(ssl, host->name.c_str()) == 1;
  if (is_set && context.check_hostname) is_set = verify_host(SSL_get0_param(ssl), *host);
  if (!is_set) return openssl::error_from_queue(Errc::kInvalid, kSetServerName);
  return host->name;
}

bool let_wildcards_match(SSL* ssl) {
  X509_VERIFY_PARAM* const param = SSL_get0_param(ssl);
  const char* const host = X509_VERIFY_PARAM_get0_host(param, 0);
  const std::string_view name = host != nullptr ? host : "";
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos || name.substr(0, dot).find('_') == std::string_view::npos) {
    return true;
  }
  std::array<unsigned char, 16> random{};
  if (RAND_bytes(random.data(), random.size()) != 1) return false;
  std::string other;
  for (const unsigned char byte : random) {
    other += static_cast<char>('a' + byte / 16);
    other += static_cast<char>('a' + byte % 16);
  }
  other += name.substr(dot);
  return X509_VERIFY_PARAM_add1_host(param, other.c_str(), 0) == 1;
}

}  // namespace heddle::tls
