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

// KeepAlive makes TCP ask a silent peer whether it is still there (RFC 9293, section 3.8.4).
// Without it, a connection on which nobody writes never notices that its peer has gone. The
// connection fails (ETIMEDOUT) once `probes` in a row are not answered. The defaults are those of
// Go; the kernel's own let two hours pass first (tcp(7)).
//
// The times are rounded up to seconds. The kernel accepts 1 to 32767 seconds and 1 to 127 probes:
// anything else fails with kInvalid.
struct KeepAlive {
  Duration idle = std::chrono::seconds(15);      // Silence before the first probe: TCP_KEEPIDLE.
  Duration interval = std::chrono::seconds(15);  // Between probes: TCP_KEEPINTVL.
  int probes = 9;                                // TCP_KEEPCNT.
};

// Socket is a connected stream socket, registered once with epoll, edge-triggered. TCP_NODELAY is
// set: TLS writes whole records. TCP_NOTSENT_LOWAT is 128 KiB: data that a peer does not read waits
// in the program, which can see it, and not in the kernel.
//
// Fibers:   one fiber may wait for reading while another waits for writing.
// Threads:  the runtime's thread.
// Moving:   as Runtime.
// Lifetime: the Runtime must outlive it, and no fiber may be waiting when it is
//   destroyed. Destruction closes at once: if unread data has arrived, TCP then
//   sends a reset, which can destroy an answer in flight. close() does not.
class HEDDLE_API Socket final : public Transport {
 public:
  // Takes over a connected stream socket, and makes it non-blocking. Fails with kInvalid if it is
  // not a stream socket (EPROTOTYPE for datagrams), with kDisconnected if it is not connected, or
  // no longer (ENOTCONN), and with kExhausted when epoll cannot watch it; `descriptor` is closed if
  // it fails. Other code may have duplicates of it (dup(2)). Reads leave out urgent data (MSG_OOB),
  // and close descriptors that are passed over a Unix socket.
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

  // Ends the connection without losing what was written: sends FIN, reads and drops what the peer
  // still sends until its FIN or `deadline` (without one, at most a mebibyte). Fails with kTimedOut
  // or kCancelled when the peer's FIN has not come; the socket may be destroyed in either case.
  // Parks.
  Result<void> close(Deadline deadline);

  // Fail with kDisconnected once there is none, and with kInvalid for an adopted socket of a family
  // that Address does not know.
  Result<Address> local_address() const;
  Result<Address> peer_address() const;

  // TCP settings, for what is sent from now on. They fail with kInvalid for values that the kernel
  // rejects, and for Unix sockets (EOPNOTSUPP).
  //
  // TCP_NODELAY. Without it the kernel holds a small piece back while an earlier one is not
  // acknowledged, which helps programs that write many small pieces without a BufferedWriter.
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

  // The local address of connections: an IPv4 or IPv6 address of this machine; port 0 takes any
  // free port. If it is set, only addresses of its family are tried.
  std::optional<Address> local_address{};

  // How long an attempt runs before the next address is tried in parallel (RFC 8305, section 5,
  // recommends 250 ms, and at least 10). When an attempt fails, the next one begins at once.
  Duration attempt_delay = std::chrono::milliseconds(250);

  std::optional<KeepAlive> keep_alive{};  // Nothing: none.

  // How long sent data may stay unacknowledged before the connection fails (ETIMEDOUT):
  // TCP_USER_TIMEOUT, rounded up to milliseconds. Zero: as long as the kernel repeats it, about 15
  // minutes. It also applies while connecting, in addition to the deadline, and replaces
  // KeepAlive::probes.
  Duration user_timeout = Duration::zero();
};

// Connects to `address`. Parks.
//
// Errors:   kUnreachable (refused, no route), kTimedOut, kCancelled, kExhausted; kInvalid for
//   `options` that cannot be used: a local address that is not of this machine, is in use, or is of
//   another family; an address of a family that `families` excludes; TCP settings that the kernel
//   rejects, or any for a Unix path. The address is the error's context (Error::context()).
HEDDLE_API Result<Socket> connect(Runtime& runtime, const Address& address,
                                  const ConnectOptions& options, Deadline deadline);

// The same with the default options.
HEDDLE_API Result<Socket> connect(Runtime& runtime, const Address& address, Deadline deadline);

// Resolves `host`, a name or an IP address, and connects: IPv6 and IPv4 addresses are raced as RFC
// 8305 says (IPv6 first, the next attempt after 250 ms or when one fails, the first success wins;
// `options` may say otherwise). At most 64 addresses of each family are tried. A change of
// /etc/resolv.conf takes effect with the next call, then also for calls in progress. Parks.
//
// Errors:   as above, with the last attempt's error. kInvalid, at once, for text that cannot be a
//   host: with a NUL, brackets, a port or a space, a name that is not ASCII (write it in its xn--
//   form), a zone that is not an interface (see Address). kInvalid also when there is no such name
//   or it has no address; kUnreachable when the name servers give no answer. The error's context is
//   `host:port` and, if an attempt was made, the address: "example.org:443: 192.0.2.1:443".
HEDDLE_API Result<Socket> connect(Runtime& runtime, std::string_view host, std::uint16_t port,
                                  const ConnectOptions& options, Deadline deadline);

// The same with the default options.
HEDDLE_API Result<Socket> connect(Runtime& runtime, std::string_view host, std::uint16_t port,
                                  Deadline deadline);

// Returns the addresses of `host`, a name or an IP address, each with `port`: IPv6 ones first, then
// IPv4, in the order in which the resolver gives them; at least one. Both families are looked up at
// once; if one lookup fails, the result is the addresses of the other. Fails as connect() does
// before it connects, with `host` as the error's context. For programs that choose among addresses
// themselves; connect() does more. Parks.
HEDDLE_API Result<std::vector<Address>> resolve(Runtime& runtime, std::string_view host,
                                                std::uint16_t port, Deadline deadline);

}  // namespace heddle
