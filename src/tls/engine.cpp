// Reading OpenSSL's verdict on a call.
#include "tls/engine.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>

#include "openssl/error.h"

namespace heddle::tls {
namespace {

Errc code_of(unsigned long openssl_code) {
  if (ERR_GET_LIB(openssl_code) != ERR_LIB_SSL) return Errc::kProtocol;
  switch (ERR_GET_REASON(openssl_code)) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
      return Errc::kTruncated;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      return Errc::kUntrusted;
    case ERR_R_MALLOC_FAILURE:
      return Errc::kExhausted;
    case ERR_R_INTERNAL_ERROR:
      return Errc::kInternal;
    default:
      return Errc::kProtocol;
  }
}

}  // namespace

Engine::Engine(openssl::SslPtr ssl, Transport& transport) : link_(transport), ssl_(std::move(ssl)) {
  BIO* const owned_by_ssl = make_bio(link_).release();
  SSL_set_bio(ssl_.get(), owned_by_ssl, owned_by_ssl);
}

Step Engine::classify(const char* name, int rc) const {
  const int saved_errno = errno;
  switch (SSL_get_error(ssl_.get(), rc)) {  // tidy: the one place that asks.
    case SSL_ERROR_WANT_READ:
      return {Step::Kind::kWantRead};
    case SSL_ERROR_WANT_WRITE:
      return {Step::Kind::kWantWrite};
    case SSL_ERROR_ZERO_RETURN:
      return {Step::Kind::kEnd};
    case SSL_ERROR_SSL:
      return {Step::Kind::kFailed, tls_error(name)};
    case SSL_ERROR_SYSCALL:
      return {Step::Kind::kFailed, transport_error(name, saved_errno)};
    default:
      return {Step::Kind::kFailed, {.code = Errc::kInternal, .operation = name}};
  }
}

Error Engine::tls_error(const char* name) const {
  Error error = openssl::error_from_queue(Errc::kProtocol, name);
  error.code = code_of(error.openssl_code);
  if (error.code == Errc::kUntrusted) {
    error.verify_code = static_cast<std::int16_t>(SSL_get_verify_result(ssl_.get()));
  }
  return error;
}

// An end of the transport in the middle of TLS is a truncation, whatever OpenSSL
// calls it. errno is the word of a BIO that is not ours.
Error Engine::transport_error(const char* name, int saved_errno) const {
  if (link_.at_end()) return {.code = Errc::kTruncated, .operation = name};
  const int failed = link_.failed_errno() != 0 ? link_.failed_errno() : saved_errno;
  return {.code = Errc::kDisconnected, .sys_errno = failed, .operation = name};
}

}  // namespace heddle::tls
