// TLS by hand: the far end of the victim's connection, and the connections of leakers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "heddle/tls/context.h"

#include "base/unique_fd.h"
#include "openssl/handles.h"

namespace heddle::stale {

// The thread's error queue is after each call of a Peer as it was before.

// Peer is the far end: it keeps TLS and the wire apart, so that it can hold back or forge bytes.
class Peer {
 public:
  // `version_max` as for SSL_set_max_proto_version().
  Peer(Role role, UniqueFd socket, int version_max);

  // Goes on with the handshake. Returns true when it is over, one way or the other.
  bool handshake();

  // Returns the record that carries `text`, and sends nothing.
  std::string seal(std::string_view text);

  // Sends bytes as they are. Throws Broken if the socket does not take them all.
  void put(std::string_view wire);

  // Receives and drops what has come, `limit` bytes of the wire at most. Returns how many.
  std::size_t drain(std::size_t limit = SIZE_MAX);

  void hang_up() { socket_.reset(); }

 private:
  void flush();

  UniqueFd socket_;
  openssl::SslPtr ssl_;
};

// RawPair is two SSL objects with plain socket BIOs, as careless programs use them. Handshake and
// tickets are over: what is read next is data.
class RawPair {
 public:
  enum class Over : bool { kUnix, kTcp };
  explicit RawPair(SSL_CTX* server_ctx, Over over = Over::kUnix);

  SSL* client() const noexcept { return client_.get(); }
  SSL* server() const noexcept { return server_.get(); }

  // Writes below TLS what the client then reads.
  void put_to_client(std::string_view wire) const;

  // Closes the server's end: in order, or by a reset.
  void vanish();
  void reset();

 private:
  UniqueFd client_socket_;
  UniqueFd server_socket_;
  openssl::SslPtr client_;
  openssl::SslPtr server_;
};

// An SSL object that does its I/O on `socket`.
openssl::SslPtr make_raw_ssl(SSL_CTX* ctx, Role role, int socket);

// A record that no key has made.
std::string_view forged_record();

}  // namespace heddle::stale
