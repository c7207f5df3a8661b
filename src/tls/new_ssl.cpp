// From a context to a connection.
#include "tls/new_ssl.h"

#include "openssl/error.h"
#include "tls/callback_state.h"
#include "tls/names.h"

namespace heddle::tls {

Result<openssl::SslPtr> new_ssl(const ContextState& context, const StreamOptions& options) {
  openssl::SslPtr ssl(SSL_new(context.ctx));
  if (!ssl) return openssl::error_from_queue(Errc::kExhausted, "SSL_new");
  const Result<void> named = set_peer_name(ssl.get(), context, options.server_name);
  if (!named) return named.error();
  if (options.session) {
    const Result<void> offered = offer_session(ssl.get(), context, *options.session);
    if (!offered) return offered.error();
  }
  if (context.role == Role::kServer) {
    SSL_set_accept_state(ssl.get());
  } else {
    SSL_set_connect_state(ssl.get());
  }
  return ssl;
}

}  // namespace heddle::tls
