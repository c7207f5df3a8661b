// Hand-over: TLS connections that go between Heddle and other code as plain OpenSSL objects.
//
// To other code: NakedConnection::create() makes an SSL that is configured by a Context, and
// speaks into memory. The other code (C, a library that wants an SSL*) makes all of its calls and
// moves the bytes between `network` and wherever they go.
//
// From other code: Context::adopt() uses an SSL_CTX that other code configured, and Stream::adopt()
// continues, on a Transport, a connection that other code began, whether or not its handshake is
// done.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <utility>

#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"
#include "heddle/transport.h"

using BIO = struct bio_st;

namespace heddle {

struct HEDDLE_API FreeSsl {
  void operator()(SSL* ssl) const noexcept;  // SSL_free()
};
struct HEDDLE_API FreeBio {
  void operator()(BIO* bio) const noexcept;  // BIO_free()
};
using UniqueSsl = std::unique_ptr<SSL, FreeSsl>;
using UniqueBio = std::unique_ptr<BIO, FreeBio>;

// NakedConnection is an SSL whose bytes go through a BIO pair (BIO_new_bio_pair(3)):
// BIO_read(network) takes what the peer is to get, BIO_write(network) gives what the peer has sent.
//
// Ownership: the owner of the two members. They may be released to C code, which then calls
//   SSL_free() and BIO_free(), in either order. The SSL owns its own end of the pair and references
//   to the SSL_CTX and to all that its callbacks need: the Context may go first.
// Threads:   any, one at a time; needs no runtime, unless a callback of the Context does.
// Errors:    its calls are plain OpenSSL calls and use the thread's error queue as they always do.
struct HEDDLE_API NakedConnection {
  UniqueSsl ssl;
  UniqueBio network;

  // As much as one TLS record (RFC 8446, 5.2; RFC 5246, 6.2.3), in each direction.
  static constexpr std::size_t kPairBytes = 5 + 16384 + 2048;

  // Makes an SSL in the context's role, ready for SSL_do_handshake(). Each direction of the pair
  // holds `pair_bytes`. Fails as Stream::create() does.
  static Result<NakedConnection> create(const Context& context, const StreamOptions& options = {},
                                        std::size_t pair_bytes = kPairBytes);
};

// Here and not in stream.h, since it moves a type that is complete only here.
template <std::derived_from<Transport> T>
requires std::move_constructible<T> Result<Stream> Stream::adopt(NakedConnection connection,
                                                                 T&& transport) {
  return adopt(std::move(connection),
               std::unique_ptr<Transport>(new T(std::forward<T>(transport))));
}

}  // namespace heddle
