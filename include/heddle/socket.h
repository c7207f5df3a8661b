// Sockets: TCP and Unix stream connections on the reactor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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

// KeepAlive is how TCP asks a peer that is silent whether it is still there (RFC 9293, section
// 3.8.4): without it, a connection on which nobody writes never notices that its peer is gone. Once
// `probes` in a row are not answered, the connection has failed (ETIMEDOUT). The defaults are those
// of Go; the kernel's own let two hours pass (tcp(7)).
//
// The kernel counts in seconds, to which the times are rounded up, and takes 1 to 32767 of them and
// 1 to 127 probes: anything else fails with kInvalid.
struct KeepAlive {
  Duration idle = std::chrono::seconds(15);      // Silence before the first probe: TCP_KEEPIDLE.
  Duration interval = std::chrono::seconds(15);  // Between probes: TCP_KEEPINTVL.
  int probes = 9;                                // TCP_KEEPCNT.
};

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
  // Takes over a connected stream socket, and makes it non-blocking. Fails with kInvalid for what
  // is no stream socket (datagrams, EPROTOTYPE), with kDisconnected for one that is not connected,
  // or not any more (ENOTCONN), and with kExhausted when epoll cannot watch it; `descriptor` is
  // then closed. Others may have duplicates of it (dup(2)). Urgent data (MSG_OOB) is left out of
  // what is read, and descriptors that are passed over a Unix socket are closed.
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

  // Settings of TCP, for what is sent from now on. Fail with kInvalid for values that the kernel
  // does not take, and for Unix sockets (EOPNOTSUPP).
  //
  // TCP_NODELAY. Without it the kernel holds a small piece back while one before it is not
  // acknowledged: for programs that write many of those and use no BufferedWriter.
  Result<void> set_no_delay(bool on);
  Result<void> set_keep_alive(const std::optional<KeepAlive>& keep_alive);  // Nothing: none.
  // As ConnectOptions::user_timeout.
  Result<void> set_user_timeout(Duration timeout);

  // Stays owned by the socket.
  int native_handle() const noexcept;

 private:
  friend class io::SocketFactory;
  explicit Socket(std::unique_ptr<io::Pollable> pollable);
  io::Pollable& pollable(const char* call = __builtin_FUNCTION()) const noexcept;

  std::unique_ptr<io::Pollable> pollable_;
};

// Which of a name's addresses connect() tries.
enum class Families : std::uint8_t {
  kIpv6First,  // Both, as RFC 8305 says.
  kIpv4First,  // The same, with the families exchanged.
  kIpv6Only,
  kIpv4Only,
};

struct ConnectOptions {
  Families families = Families::kIpv6First;

  // Where connections come from: an IPv4 or IPv6 address of this machine, with port 0 for any free
  // one. Only addresses of its family are tried then.
  std::optional<Address> local_address{};

  // How long an attempt has before the next address is tried beside it (RFC 8305, section 5, which
  // says 250 ms, and not below 10). An attempt that fails makes the next one begin at once.
  Duration attempt_delay = std::chrono::milliseconds(250);

  std::optional<KeepAlive> keep_alive{};  // Nothing: none.

  // How long what was sent may stay unacknowledged before the connection has failed (ETIMEDOUT):
  // TCP_USER_TIMEOUT, rounded up to milliseconds. Zero: as long as the kernel repeats it, some 15
  // minutes. Also counts while connecting, beside the deadline, and takes the place of
  // KeepAlive::probes.
  Duration user_timeout = Duration::zero();
};

// Connects to `address`. Parks.
//
// Errors:   kUnreachable (refused, no route), kTimedOut, kCancelled, kExhausted; kInvalid for
//   `options` that cannot be used: a local address that is not ours or taken, of another family, or
//   a family that `families` excludes; settings of TCP that the kernel does not take, or for a Unix
//   path. The address is the error's context (Error::context()).
HEDDLE_API Result<Socket> connect(Runtime& runtime, const Address& address,
                                  const ConnectOptions& options, Deadline deadline);

// The same with the default options.
HEDDLE_API Result<Socket> connect(Runtime& runtime, const Address& address, Deadline deadline);

// Resolves `host`, a name or an IP address, and connects: IPv6 and IPv4 addresses are raced as RFC
// 8305 says (IPv6 first, the next attempt after 250 ms or when one fails, the first success wins;
// `options` may say otherwise). At most 64 addresses of each family are tried. A change of
// /etc/resolv.conf counts from the next call on, also for calls in progress. Parks.
//
// Errors:   as above, with the last attempt's error; at once with kInvalid for what is no host: a
//   NUL, brackets, a port, a space, a name that is not ASCII (write it in its xn-- form), a zone
//   that is no interface (see Address); with kInvalid when there is no such name or it has no
//   address, and with kUnreachable when the name servers do not say. The error's context is
//   `host:port` and, if an attempt was made, the address: "example.org:443: 192.0.2.1:443".
HEDDLE_API Result<Socket> connect(Runtime& runtime, std::string_view host, std::uint16_t port,
                                  const ConnectOptions& options, Deadline deadline);

// The same with the default options.
HEDDLE_API Result<Socket> connect(Runtime& runtime, std::string_view host, std::uint16_t port,
                                  Deadline deadline);

// The addresses of `host`, a name or an IP address, each with `port`: IPv6 ones first, then IPv4,
// in the order in which the resolver gives them; at least one. Both families are asked for at once;
// if one of them fails, the other's addresses are the result. Fails as connect() does before it
// connects, with `host` as the error's context. For programs that choose among addresses
// themselves; connect() does more. Parks.
HEDDLE_API Result<std::vector<Address>> resolve(Runtime& runtime, std::string_view host,
                                                std::uint16_t port, Deadline deadline);

}  // namespace heddle
