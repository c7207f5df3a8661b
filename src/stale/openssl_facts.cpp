// Tries out what SSL_get_error() does on the OpenSSL at hand.
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/opensslv.h>
#include <openssl/ssl.h>

#include "heddle/error_queue.h"
#include "heddle/stale.h"

#include "openssl/handles.h"

namespace heddle::stale {
namespace {

// A client that waits for its server, while an entry lies there that has nothing to do with it.
bool believes_the_queue() {
  const openssl::SslCtxPtr context(SSL_CTX_new(TLS_client_method()));
  const openssl::SslPtr client(context ? SSL_new(context.get()) : nullptr);
  openssl::BioPtr input(BIO_new(BIO_s_mem()));
  openssl::BioPtr output(BIO_new(BIO_s_mem()));
  if (!client || !input || !output) return false;
  BIO_set_mem_eof_return(input.get(), -1);  // Empty means: not yet.
  SSL_set_bio(client.get(), input.release(), output.release());
  SSL_set_connect_state(client.get());
  const int waiting = SSL_do_handshake(client.get());
  (void)OBJ_txt2obj("this is no object identifier", /*no_name=*/1);
  // tidy: it is what is tried out.
  return SSL_get_error(client.get(), waiting) != SSL_ERROR_WANT_READ;
}

}  // namespace

OpensslFacts openssl_facts() {
  const ErrorQueueScope scope(Leftovers::kDrop);
  return {.running = openssl_version(),
          .built_with = OPENSSL_VERSION_TEXT,
          .queue_first = believes_the_queue()};
}

}  // namespace heddle::stale
