// Making sockets: what the public factories do once they know the reactor.
#pragma once

#include <memory>
#include <utility>

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

class SocketFactory {
 public:
  // `fd` is a connected stream socket, already non-blocking.
  static Result<std::unique_ptr<Socket>> make(Reactor& reactor, UniqueFd fd);

  // Waits until a connection that was begun is made or refused.
  static Wake wait_connected(Socket& socket, Deadline deadline);
};

// As heddle::connect().
Result<std::unique_ptr<Socket>> connect_address(Reactor& reactor, const Address& address,
                                                Deadline deadline);

// As Listener::create(). Returns the listening descriptor and the address bound.
Result<std::pair<std::unique_ptr<Pollable>, Address>> listen_on(Reactor& reactor,
                                                                const Address& address,
                                                                const ListenOptions& options);

// As Listener::adopt(), and as listen_on().
Result<std::pair<std::unique_ptr<Pollable>, Address>> adopt_listening(Reactor& reactor,
                                                                      UniqueFd fd);

}  // namespace heddle::io
