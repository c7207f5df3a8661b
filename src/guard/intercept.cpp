// The functions that are put before OpenSSL's. Nothing else of the guard is visible outside.
//
// On the clean path each call costs one ERR_get_state() (ERR_peek_error() in OpenSSL 4), a look at
// the head of the SSL object, and five stores; SSL_get_error() only the look. See
// bench/guard_bench.cpp.
#include <type_traits>

#include <openssl/ssl.h>

#include "guard/guard.h"
#include "guard/provoke.h"

namespace heddle::guard {
namespace {

template <Call kCall, typename Function>
struct Watched;

template <Call kCall, typename Value, typename... Arguments>
struct Watched<kCall, Value(SSL*, Arguments...)> {
  [[gnu::always_inline]] static Value call(const void* site, SSL* ssl,
                                           std::type_identity_t<Arguments>... arguments) {
    const Library& library = library_of(ssl, site);
    const auto real =
        reinterpret_cast<Value (*)(SSL*, Arguments...)>(library.calls[index_of(kCall)]);
    if (real == nullptr) [[unlikely]] {
      complain_of_missing(kCall);
      return 0;
    }
    if (!library.watched) return real(ssl, arguments...);
    if (provoking) [[unlikely]]
      follow(kCall, ssl);
    const ErrorState* const state = state_of(library);
    if (holds_entries(library, state)) [[unlikely]] {
      if (is_nested(library, kCall, ssl, site)) return real(ssl, arguments...);
      const Visit visit = enter_dirty(library, kCall, ssl, site, state);
      const Value returned = real(ssl, arguments...);
      leave_dirty(library, visit, ssl, kCall, site, returned);
      return returned;
    }
    trail = {.call = kCall, .ssl = ssl, .site = site};
    const Value returned = real(ssl, arguments...);
    // Asking the queue again costs as much as before. A plain "not yet" leaves nothing there.
    if (clears_the_queue_itself(kCall) ||
        (failed(kCall, returned) && !only_wants_to_be_repeated(library, ssl))) [[unlikely]] {
      leave_clean(library, kCall, ssl, site);
    }
    // SSL_shutdown() that returns 0 is asked about.
    if (provoking && returned > 0) [[unlikely]]
      provoke_between(library, site);
    return returned;
  }
};

// Entries make OpenSSL's say one of two things. It says the one or other of dead connections only,
// so to look after asking costs nothing as long as all is well.
[[gnu::always_inline]] inline int watched_verdict(const void* site, const SSL* ssl, int result) {
  const Library& library = library_of(ssl, site);
  const auto real =
      reinterpret_cast<decltype(&SSL_get_error)>(library.calls[index_of(Call::kGetError)]);
  if (real == nullptr) [[unlikely]] {
    complain_of_missing(Call::kGetError);
    return SSL_ERROR_SSL;
  }
  const int seen = real(ssl, result);
  if (seen != SSL_ERROR_SSL && seen != SSL_ERROR_SYSCALL) [[likely]] {
    if (pending != nullptr) [[unlikely]]
      settle_pending(library, ssl, result);
    if (provoking) [[unlikely]]
      provoke_between(library, site);
    return seen;
  }
  if (!library.watched || !library.entries_come_first) return seen;
  return settle_verdict(library, ssl, result, site) ? real(ssl, result) : seen;
}

}  // namespace
}  // namespace heddle::guard

using heddle::guard::Call;
using heddle::guard::Watched;

#define HEDDLE_SITE __builtin_return_address(0)

extern "C" {
#pragma GCC visibility push(default)

int SSL_read(SSL* ssl, void* buffer, int size) {
  return Watched<Call::kRead, decltype(SSL_read)>::call(HEDDLE_SITE, ssl, buffer, size);
}

int SSL_read_ex(SSL* ssl, void* buffer, std::size_t size, std::size_t* done) {
  return Watched<Call::kReadEx, decltype(SSL_read_ex)>::call(HEDDLE_SITE, ssl, buffer, size, done);
}

int SSL_peek(SSL* ssl, void* buffer, int size) {
  return Watched<Call::kPeek, decltype(SSL_peek)>::call(HEDDLE_SITE, ssl, buffer, size);
}

int SSL_peek_ex(SSL* ssl, void* buffer, std::size_t size, std::size_t* done) {
  return Watched<Call::kPeekEx, decltype(SSL_peek_ex)>::call(HEDDLE_SITE, ssl, buffer, size, done);
}

int SSL_write(SSL* ssl, const void* buffer, int size) {
  return Watched<Call::kWrite, decltype(SSL_write)>::call(HEDDLE_SITE, ssl, buffer, size);
}

int SSL_write_ex(SSL* ssl, const void* buffer, std::size_t size, std::size_t* done) {
  return Watched<Call::kWriteEx, decltype(SSL_write_ex)>::call(HEDDLE_SITE, ssl, buffer, size,
                                                               done);
}

// Since OpenSSL 3.3; older headers do not declare it.
// NOLINTNEXTLINE(readability-identifier-naming)
int SSL_write_ex2(SSL* ssl, const void* buffer, std::size_t size, std::uint64_t flags,
                  std::size_t* done) {
  return Watched<Call::kWriteEx2, int(SSL*, const void*, std::size_t, std::uint64_t,
                                      std::size_t*)>::call(HEDDLE_SITE, ssl, buffer, size, flags,
                                                           done);
}

ossl_ssize_t SSL_sendfile(SSL* ssl, int file, off_t offset, std::size_t size, int flags) {
  return Watched<Call::kSendfile, decltype(SSL_sendfile)>::call(HEDDLE_SITE, ssl, file, offset,
                                                                size, flags);
}

int SSL_shutdown(SSL* ssl) {
  return Watched<Call::kShutdown, decltype(SSL_shutdown)>::call(HEDDLE_SITE, ssl);
}

int SSL_read_early_data(SSL* ssl, void* buffer, std::size_t size, std::size_t* done) {
  return Watched<Call::kReadEarlyData, decltype(SSL_read_early_data)>::call(HEDDLE_SITE, ssl,
                                                                            buffer, size, done);
}

int SSL_write_early_data(SSL* ssl, const void* buffer, std::size_t size, std::size_t* done) {
  return Watched<Call::kWriteEarlyData, decltype(SSL_write_early_data)>::call(HEDDLE_SITE, ssl,
                                                                              buffer, size, done);
}

int SSL_connect(SSL* ssl) {
  return Watched<Call::kConnect, decltype(SSL_connect)>::call(HEDDLE_SITE, ssl);
}

int SSL_accept(SSL* ssl) {
  return Watched<Call::kAccept, decltype(SSL_accept)>::call(HEDDLE_SITE, ssl);
}

int SSL_do_handshake(SSL* ssl) {
  return Watched<Call::kDoHandshake, decltype(SSL_do_handshake)>::call(HEDDLE_SITE, ssl);
}

int SSL_stateless(SSL* ssl) {
  return Watched<Call::kStateless, decltype(SSL_stateless)>::call(HEDDLE_SITE, ssl);
}

int DTLSv1_listen(SSL* ssl, BIO_ADDR* client) {
  return Watched<Call::kListen, decltype(DTLSv1_listen)>::call(HEDDLE_SITE, ssl, client);
}

// tidy: this is it.
int SSL_get_error(const SSL* ssl, int result) {
  return heddle::guard::watched_verdict(HEDDLE_SITE, ssl, result);
}

#pragma GCC visibility pop
}
