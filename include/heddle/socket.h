// Sockets: TCP and Unix stream connections on the reactor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "heddle/address.h"
#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/transport.h"

namespace heddle {

class Runtime;

namespace io {
class Pollable;
class SocketFactory;
}  // namespace io

// Socket is a connected stream socket, registered once with epoll, edge-triggered.
// TCP_NODELAY is set: TLS writes whole records. TCP_NOTSENT_LOWAT is 128 KiB: what a peer does not
// read waits in the program, which can see it, and not in the kernel.
//
// Fibers:   one fiber may wait for reading while another waits for writing.
// Threads:  the runtime's thread.
// Moving:   as Runtime.
// Lifetime: the Runtime must outlive it, and no fiber may be waiting when it is
//   destroyed. Destruction closes at once: if unread data has arrived, TCP then
//   sends a reset, which can destroy an answer in flight. close() does not.
class HEDDLE_API Socket final : public Transport {
 public:
  // Takes over a connected stream socket, and makes it non-blocking. Fails with
  // kExhausted when epoll cannot watch it; `descriptor` is then closed. Others may have duplicates
  // of it (dup(2)). Urgent data (MSG_OOB) is left out of what is read, and descriptors that are
  // passed over a Unix socket are closed.
  static Result<Socket> adopt(Runtime& runtime, int descriptor);

  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;
  ~Socket() override;

  IoResult try_read(std::span<std::byte> into) noexcept override;
  IoResult try_write(std::span<const std::byte> from) noexcept override;
  Wake wait(Interest interest, Deadline deadline) override;
  void shutdown_write() noexcept override;
  int tcp_descriptor() const noexcept override { return native_handle(); }
  void kernel_tls_begins() noexcept override;
  void would_block(Interest interest) noexcept override;

  // Reads at least one byte and at most `into.size()`; 0 at the end of the stream.
  // Fails with kTimedOut, kCancelled, kDisconnected. Parks.
  Result<std::size_t> read(std::span<std::byte> into, Deadline deadline);

  // Writes all of `from`. On failure any prefix may have been sent. Parks.
  Result<void> write(std::span<const std::byte> from, Deadline deadline);
  Result<void> write(std::string_view text, Deadline deadline) {
    return write(std::as_bytes(std::span(text)), deadline);
  }

  // Ends the connection without losing what was written: sends FIN, reads and
  // drops what the peer still sends until its FIN or `deadline` (if there is none: a mebibyte).
  // Fails with kTimedOut or kCancelled when the peer's FIN has not come; the socket may be
  // destroyed in either case. Parks.
  Result<void> close(Deadline deadline);

  // Fail with kDisconnected once there is none, and with kInvalid for a socket that was adopted
  // and is of another family than Address knows.
  Result<Address> local_address() const;
  Result<Address> peer_address() const;

  // Stays owned by the socket.
  int native_handle() const noexcept;

 private:
  friend class io::SocketFactory;
  explicit Socket(std::unique_ptr<io::Pollable> pollable);
  io::Pollable& pollable(const char* call = __builtin_FUNCTION()) const noexcept;

  std::unique_ptr<io::Pollable> pollable_;
};

// Connects to `address`. Fails with kUnreachable (refused, no route), kTimedOut,
// kCancelled, kExhausted. Parks.
HEDDLE_API Result<Socket> connect(Runtime& runtime, const Address& address, Deadline deadline);

// Resolves `host`, a name or an IP address, and connects: IPv6 and IPv4 addresses
// are raced as RFC 8305 says (IPv6 first, the next attempt after 250 ms or when
// one fails, the first success wins). Fails as above with the last attempt's
// error; at once with kInvalid for what is no host: a NUL, brackets, a port, a space, a
// name that is not ASCII (write it in its xn-- form), a zone that is no interface (see
// Address); with kInvalid when there is no such name or it has no address, and with
// kUnreachable when the name servers do not say. At most 64 addresses of each family are
// tried. A change of /etc/resolv.conf counts from the next call on, also for calls in
// progress. Parks.
HEDDLE_API Result<Socket> connect(Runtime& runtime, std::string_view host, std::uint16_t port,
                                  Deadline deadline);

// The addresses of `host`, a name or an IP address, each with `port`: IPv6 ones first, then IPv4,
// in the order in which the resolver gives them; at least one. Both families are asked for at once;
// if one of them fails, the other's addresses are the result. Fails as connect() does before it
// connects. For programs that choose among addresses themselves; connect() does more. Parks.
HEDDLE_API Result<std::vector<Address>> resolve(Runtime& runtime, std::string_view host,
                                                std::uint16_t port, Deadline deadline);

}  // namespace heddle
