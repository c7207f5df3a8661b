// From a context to a connection.
#include "tls/context/new_ssl.h"

#include <optional>
#include <string>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "openssl/error.h"
#include "tls/callbacks/session_mark.h"
#include "tls/context/names.h"
#include "tls/machine/machine.h"
#include "tls/state/callback_scope.h"
#include "tls/state/callback_state.h"

namespace heddle::tls {
namespace {

// What other code does with a client's SSL_CTX may depend on its ID context: OpenSSL refuses a
// program's own PSK (SSL_psk_use_session_cb_func(3)) if that has another one.
bool marks_sessions(const ContextState& context) {
  return context.role == Role::kServer || CallbackState::of(context.ctx).is_ours;
}

Result<void> tie_sessions(SSL* ssl, const ContextState& context, const std::string& peer_name,
                          const StreamOptions& options) {
  std::optional<Sha256> mark;
  if (marks_sessions(context)) {
    mark = mark_sessions(ssl, peer_name);
    if (!mark) return openssl::error_from_queue(Errc::kExhausted, "mark the sessions");
  }
  if (options.session) {
    if (context.role == Role::kServer) {
      return Error{
          .code = Errc::kInvalid, .operation = kSetSession, .detail = "only a client offers one"};
    }
    const auto offered = offer_session(ssl, *options.session, mark);
    if (!offered) return offered;
  }
  const bool is_named = !peer_name.empty() || !options.session_scope.empty();
  if (is_named && CallbackState::of(context.ctx).client_cache) {
    offer_from_cache(ssl, *mark, options.session_scope);
  }
  return {};
}

// A callback may not have been asked yet.
bool lacks_certificate(const SSL* ssl) {
  return SSL_get_certificate(ssl) == nullptr && !CallbackState::of(ssl).certificate;
}

// OpenSSL's words for a server without a certificate are those for a client that has nothing in
// common with it: no shared cipher, or no TLS 1.3, for which the server has no signature.
void before_alert(const SSL* ssl, int where, int value) {
  const int alert = where == SSL_CB_WRITE_ALERT ? value & 0xff : 0;
  if ((alert == SSL_AD_HANDSHAKE_FAILURE || alert == SSL_AD_PROTOCOL_VERSION) &&
      lacks_certificate(ssl)) {
    keep_failure(ssl, {.code = Errc::kInvalid,
                       .openssl_code = static_cast<std::uint32_t>(ERR_peek_error()),
                       .operation = Machine::kHandshake,
                       .detail = "the server's context has no certificate"});
  }
  const auto next = SSL_CTX_get_info_callback(SSL_get_SSL_CTX(ssl));
  if (next != nullptr) next(ssl, where, value);
}

void explain_missing_certificate(SSL* ssl) {
  if (lacks_certificate(ssl)) SSL_set_info_callback(ssl, before_alert);
}

// From 3.2 on these make a record layer. Without memory for it they say nothing, and the next call
// that looks for it ends the process.
Result<void> set_role(SSL* ssl, Role role) {
  ERR_clear_error();
  if (role == Role::kServer) {
    SSL_set_accept_state(ssl);
  } else {
    SSL_set_connect_state(ssl);
  }
  if (ERR_peek_error() == 0) return {};
  return openssl::error_from_queue(Errc::kExhausted, "make a record layer of TLS");
}

}  // namespace

Result<openssl::SslPtr> new_ssl(const ContextState& context, const StreamOptions& options) {
  openssl::SslPtr ssl(SSL_new(context.ctx));
  if (!ssl) return openssl::error_from_queue(Errc::kExhausted, "SSL_new");
  const Result<std::string> named = set_peer_name(ssl.get(), context, options.server_name);
  if (!named) return named.error().with(options.server_name);
  if (const auto set = set_role(ssl.get(), context.role); !set) return set.error();
  const Result<void> tied = tie_sessions(ssl.get(), context, *named, options);
  if (!tied) return tied.error();
  if (context.role == Role::kServer) {
    explain_missing_certificate(ssl.get());
  } else if (!let_wildcards_match(ssl.get())) {
    return openssl::error_from_queue(Errc::kExhausted, kSetServerName).with(*named);
  }
  return ssl;
}

}  // namespace heddle::tls
