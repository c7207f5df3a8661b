// Making sockets: what the public factories do once they know the reactor.
#pragma once

#include <sys/socket.h>

#include <optional>

#include "heddle/address.h"
#include "heddle/deadline.h"
#include "heddle/listener.h"
#include "heddle/result.h"
#include "heddle/socket.h"

#include "base/unique_fd.h"
#include "io/reactor.h"

namespace heddle::io {

// Makes `fd` non-blocking (fcntl(2)). False: it did not work, and errno says why.
bool set_nonblocking(int fd) noexcept;

// The address that `ask`, getsockname(2) or getpeername(2), tells. Fails with kDisconnected and its
// errno, and with kInvalid and EAFNOSUPPORT for sockets of a family that no Address has.
Result<Address> ask_address(int fd, int (*ask)(int, sockaddr*, socklen_t*), const char* operation);

// `error`, with `address` as its context; without memory as it is.
Error about(const Address& address, const Error& error) noexcept;

class SocketFactory {
 public:
  // `fd` is a connected stream socket, already non-blocking.
  static Result<Socket> make(Reactor& reactor, UniqueFd fd);

  // Waits until a connection that was begun is made or refused.
  static Wake wait_connected(Socket& socket, Deadline deadline);
};

// As heddle::connect().
Result<Socket> connect_address(Reactor& reactor, const Address& address,
                               const ConnectOptions& options, Deadline deadline);

// Settings of TCP for a socket, or for those that a listening one accepts. Fail with kInvalid.
Result<void> set_no_delay(int fd, bool on);
Result<void> set_keep_alive(int fd, const std::optional<KeepAlive>& keep_alive);
Result<void> set_user_timeout(int fd, Duration timeout);

class ListenerFactory {
 public:
  // As Listener::create().
  static Result<Listener> listen_on(Reactor& reactor, const Address& address,
                                    const ListenOptions& options);

  // As Listener::adopt().
  static Result<Listener> adopt(Reactor& reactor, UniqueFd fd);

 private:
  enum class Path : bool { kOurs, kOthers };
  static Result<Listener> make(Reactor& reactor, UniqueFd fd, Path path);
};

}  // namespace heddle::io
