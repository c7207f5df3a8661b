// What a step leaves behind.
#include "tls/machine/machine.h"

#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "base/interruption.h"
#include "openssl/error.h"

namespace heddle::tls {
namespace {

constexpr Error kAnException{.code = Errc::kDisconnected,
                             .operation = "call a transport or a callback",
                             .detail = "it threw an exception"};

Error for_good(const Error& error) noexcept {
  Error kept = error;
  if (is_interruption(error)) kept.code = Errc::kDisconnected;
  return kept;
}

}  // namespace

int Machine::finish_pending(SSL* ssl) {
  if (SSL_in_init(ssl) == 0) {
    const int type = SSL_get_key_update_type(ssl);
    if (type == SSL_KEY_UPDATE_NONE) return 1;
    // SSL_do_handshake() alone does not know of it.
    (void)SSL_key_update(ssl, type);
  }
  return SSL_do_handshake(ssl);
}

Step Machine::await_data(bool settles) {
  std::byte byte{};
  std::size_t count = 0;
  const Step taken = step(kPeek, [&](SSL* ssl) {
    if (settles) {
      if (const int settled = finish_pending(ssl); settled <= 0) return settled;
    }
    return SSL_peek_ex(ssl, &byte, sizeof(byte), &count);
  });
  return got(taken);
}

Result<void> Machine::announce(Announcement what) {
  if (refuses_write()) return refused_write();
  const ErrorQueueScope scope(Leftovers::kDrop);
  if (what == Announcement::kCertificateRequest) {
    if (SSL_verify_client_post_handshake(ssl()) == 1) return {};
    return openssl::error_from_queue(Errc::kInvalid, "SSL_verify_client_post_handshake");
  }
  const int type = what == Announcement::kNewKeysOfBoth ? SSL_KEY_UPDATE_REQUESTED
                                                        : SSL_KEY_UPDATE_NOT_REQUESTED;
  if (SSL_key_update(ssl(), type) == 1) return {};
  return openssl::error_from_queue(Errc::kInvalid, "SSL_key_update");
}

Step Machine::end() {
  return step(kEnd, [&](SSL* ssl) {
    if (write_ended_) return 1;
    if (SSL_in_init(ssl) != 0 && established()) {
      if (const int rest = SSL_do_handshake(ssl); rest <= 0) return rest;
    }
    if (SSL_in_init(ssl) != 0) return 1;
    // 0 means that close_notify is written and not yet answered: all we want.
    const int rc = SSL_shutdown(ssl);
    if (rc >= 0) have_ended();
    return rc == 0 ? 1 : rc;
  });
}

Error Machine::refused_write() const {
  if (failure_) return *failure_;
  if (write_failure_) return *write_failure_;
  return Error{.code = Errc::kDisconnected,
               .operation = kWrite,
               .detail = "our end has been written already"};
}

Error Machine::fail(const Error& error) {
  failure_ = for_good(error);
  return error;
}

Error Machine::fail_writing(const Error& error) {
  write_failure_ = for_good(error);
  return error;
}

Error Machine::fail_by_exception() {
  return failure_ ? *failure_ : fail(kAnException);
}

void Machine::rethrow() {
  engine_.rethrow();
}

// In the middle of a handshake even close_notify comes too early.
Step Machine::in_handshake(Step taken) {
  // It has gone deep into the stack, and the connection may be idle from now on.
  if (established()) fiber::release_unused_stack();
  if (taken.kind == Step::Kind::kFailed || has_exception()) return failed(taken);
  if (taken.kind != Step::Kind::kEnd || established()) return taken;
  return engine_.failed_step(fail({.code = Errc::kDisconnected,
                                   .operation = kHandshake,
                                   .detail = "the peer ended before it was done"}));
}

// Whatever threw left OpenSSL with half a truth.
Step Machine::failed(Step taken) {
  return engine_.failed_step(fail(has_exception() ? kAnException : *taken.error));
}

Step Machine::refused_by_end() {
  return engine_.failed_step(fail_writing({.code = Errc::kDisconnected,
                                           .operation = kWrite,
                                           .detail = "the peer has ended the connection"}));
}

}  // namespace heddle::tls
