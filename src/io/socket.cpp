// Reading and writing a non-blocking socket with no system call that is sure to
// find nothing.
#include "heddle/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>
#include <new>

#include <fcntl.h>

#include "base/handle.h"
#include "base/interruption.h"
#include "fiber/breathe.h"
#include "io/sockets.h"
#include "transport/drain.h"

namespace heddle {
namespace {

Error broken(int sys_errno, const char* operation) {
  return {.code = Errc::kDisconnected, .sys_errno = sys_errno, .operation = operation};
}

Result<void> set_option(int fd, int level, int option, int value, const char* operation) {
  if (::setsockopt(fd, level, option, &value, sizeof(value)) == 0) return {};
  return Error{.code = Errc::kInvalid, .sys_errno = errno, .operation = operation};
}

// What an int does not hold, the kernel takes for no option either.
template <typename Unit>
int rounded_up(Duration time) {
  const auto count = std::chrono::ceil<Unit>(time).count();
  constexpr auto kMost = std::numeric_limits<int>::max();
  return static_cast<int>(std::clamp<decltype(count)>(count, -1, kMost));
}

IoResult receive(io::Pollable& pollable, std::span<std::byte> into) noexcept {
  if (!pollable.readable) return {IoResult::Kind::kWouldBlock};
  ssize_t count = 0;
  int failed = 0;
  do {
    count = ::recv(pollable.fd(), into.data(), into.size(), 0);
    failed = errno;
  } while (count < 0 && failed == EINTR);
  if (count > 0) {
    const auto bytes = static_cast<std::size_t>(count);
    // What comes later makes a new event.
    if (bytes < into.size() && pollable.short_read_drains) pollable.readable = false;
    return {IoResult::Kind::kBytes, bytes};
  }
  if (count == 0) return {IoResult::Kind::kEnd};
  if (failed == EAGAIN) {
    pollable.readable = false;
    return {IoResult::Kind::kWouldBlock};
  }
  return {IoResult::Kind::kFailed, 0, failed};
}

IoResult send(io::Pollable& pollable, std::span<const std::byte> from) noexcept {
  if (!pollable.writable) return {IoResult::Kind::kWouldBlock};
  ssize_t count = 0;
  int failed = 0;
  do {
    count = ::send(pollable.fd(), from.data(), from.size(), MSG_NOSIGNAL);
    failed = errno;
  } while (count < 0 && failed == EINTR);
  if (count >= 0) {
    const auto bytes = static_cast<std::size_t>(count);
    if (bytes < from.size()) pollable.writable = false;  // Full: an event tells when not.
    return {IoResult::Kind::kBytes, bytes};
  }
  if (failed == EAGAIN) {
    pollable.writable = false;
    return {IoResult::Kind::kWouldBlock};
  }
  return {IoResult::Kind::kFailed, 0, failed};
}

void finish(const io::Pollable& pollable) noexcept {
  // Fails when the peer has reset the connection, which ends it as well.
  (void)::shutdown(pollable.fd(), SHUT_WR);
}

// Connected is the connection that a Socket stands for: for a call that takes a transport and that
// goes on when the handle is moved.
class Connected final : public Transport {
 public:
  explicit Connected(io::Pollable& pollable) noexcept : pollable_(pollable) {}

  IoResult try_read(std::span<std::byte> into) override { return receive(pollable_, into); }
  IoResult try_write(std::span<const std::byte> from) override { return send(pollable_, from); }
  Wake wait(Interest interest, Deadline deadline) override {
    return pollable_.wait(interest, deadline);
  }
  void shutdown_write() noexcept override { finish(pollable_); }

 private:
  io::Pollable& pollable_;
};

}  // namespace

Result<Address> io::ask_address(int fd, int (*ask)(int, sockaddr*, socklen_t*),
                                const char* operation) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  auto* const generic = reinterpret_cast<sockaddr*>(&storage);
  if (ask(fd, generic, &size) != 0) return broken(errno, operation);
  switch (storage.ss_family) {
    case AF_INET:
    case AF_INET6:
    case AF_UNIX:
      return Address::from_sockaddr(generic, size);
    default:
      return Error{.code = Errc::kInvalid, .sys_errno = EAFNOSUPPORT, .operation = operation};
  }
}

Error io::about(const Address& address, const Error& error) noexcept {
  try {
    return error.with(address.to_string());
  } catch (const std::bad_alloc&) {
    return error;
  }
}

Result<void> io::set_no_delay(int fd, bool on) {
  return set_option(fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0, "set TCP_NODELAY");
}

// First what a Unix socket does not take: it takes SO_KEEPALIVE and does nothing with it.
Result<void> io::set_keep_alive(int fd, const std::optional<KeepAlive>& keep_alive) {
  const KeepAlive wanted = keep_alive.value_or(KeepAlive{});
  const int idle = rounded_up<std::chrono::seconds>(wanted.idle);
  const int interval = rounded_up<std::chrono::seconds>(wanted.interval);
  if (const auto set = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle, "set TCP_KEEPIDLE"); !set) {
    return set;
  }
  if (const auto set = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval, "set TCP_KEEPINTVL");
      !set) {
    return set;
  }
  if (const auto set = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, wanted.probes, "set TCP_KEEPCNT");
      !set) {
    return set;
  }
  return set_option(fd, SOL_SOCKET, SO_KEEPALIVE, keep_alive ? 1 : 0, "set SO_KEEPALIVE");
}

Result<void> io::set_user_timeout(int fd, Duration timeout) {
  return set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
                    rounded_up<std::chrono::milliseconds>(timeout), "set TCP_USER_TIMEOUT");
}

bool io::set_nonblocking(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

Result<Socket> io::SocketFactory::make(Reactor& reactor, UniqueFd fd) {
  const int on = 1;
  const bool tcp = ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0;
  if (tcp) {
    // Else the kernel takes megabytes for a peer that does not read.
    constexpr int kUnsentMax = 128 * 1024;
    (void)::setsockopt(fd.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsentMax, sizeof(kUnsentMax));
  }
  auto pollable = Pollable::create(reactor, std::move(fd));
  if (!pollable) return pollable.error();
  // A new connection has room; whether data has arrived the first event tells.
  (*pollable)->writable = true;
  // Over a Unix socket descriptors may be passed, and a read stops in front of them.
  (*pollable)->short_read_drains = tcp;
  return Socket(*std::move(pollable));
}

Wake io::SocketFactory::wait_connected(Socket& socket, Deadline deadline) {
  Pollable& pollable = socket.pollable();
  pollable.writable = false;
  return pollable.wait(Interest::kWrite, deadline);
}

Socket::Socket(std::unique_ptr<io::Pollable> pollable) : pollable_(std::move(pollable)) {}

Socket::Socket(Socket&& other) noexcept = default;
Socket& Socket::operator=(Socket&& other) noexcept = default;
Socket::~Socket() = default;

io::Pollable& Socket::pollable(const char* call) const noexcept {
  return behind(pollable_, "Socket", call);
}

IoResult Socket::try_read(std::span<std::byte> into) noexcept {
  return receive(pollable(), into);
}

IoResult Socket::try_write(std::span<const std::byte> from) noexcept {
  return send(pollable(), from);
}

Wake Socket::wait(Interest interest, Deadline deadline) {
  return pollable().wait(interest, deadline);
}

void Socket::shutdown_write() noexcept {
  finish(pollable());
}

void Socket::kernel_tls_begins() noexcept {
  pollable().close_sends = true;
}

void Socket::would_block(Interest interest) noexcept {
  io::Pollable& pollable = this->pollable();
  if (interest != Interest::kWrite) pollable.readable = false;
  if (interest != Interest::kRead) pollable.writable = false;
}

Result<void> Socket::set_no_delay(bool on) {
  return io::set_no_delay(pollable().fd(), on);
}

Result<void> Socket::set_keep_alive(const std::optional<KeepAlive>& keep_alive) {
  return io::set_keep_alive(pollable().fd(), keep_alive);
}

Result<void> Socket::set_user_timeout(Duration timeout) {
  return io::set_user_timeout(pollable().fd(), timeout);
}

Result<std::size_t> Socket::read(std::span<std::byte> into, Deadline deadline) {
  constexpr const char* kOperation = "read from a socket";
  io::Pollable& pollable = this->pollable();
  if (into.empty()) return std::size_t{0};
  if (const Wake wake = fiber::breathe(); wake != Wake::kReady) {
    return interruption(wake, kOperation);
  }
  for (;;) {
    const IoResult io = receive(pollable, into);
    switch (io.kind) {
      case IoResult::Kind::kBytes:
        return io.bytes;
      case IoResult::Kind::kEnd:
        return std::size_t{0};
      case IoResult::Kind::kFailed:
        return broken(io.sys_errno, kOperation);
      case IoResult::Kind::kWouldBlock:
        break;
    }
    const Wake wake = pollable.wait(Interest::kRead, deadline);
    if (wake != Wake::kReady) return interruption(wake, kOperation);
  }
}

Result<void> Socket::write(std::span<const std::byte> from, Deadline deadline) {
  constexpr const char* kOperation = "write to a socket";
  io::Pollable& pollable = this->pollable();
  while (!from.empty()) {
    if (const Wake wake = fiber::breathe(); wake != Wake::kReady) {
      return interruption(wake, kOperation);
    }
    const IoResult io = send(pollable, from);
    switch (io.kind) {
      case IoResult::Kind::kBytes:
        from = from.subspan(io.bytes);
        continue;
      case IoResult::Kind::kEnd:
      case IoResult::Kind::kFailed:
        return broken(io.sys_errno, kOperation);
      case IoResult::Kind::kWouldBlock:
        break;
    }
    const Wake wake = pollable.wait(Interest::kWrite, deadline);
    if (wake != Wake::kReady) return interruption(wake, kOperation);
  }
  return {};
}

Result<void> Socket::close(Deadline deadline) {
  Connected connected(pollable());
  (void)fiber::breathe();
  return finish_and_drain(connected, deadline);
}

Result<Address> Socket::local_address() const {
  return io::ask_address(pollable().fd(), ::getsockname, "getsockname");
}

Result<Address> Socket::peer_address() const {
  return io::ask_address(pollable().fd(), ::getpeername, "getpeername");
}

int Socket::native_handle() const noexcept {
  return pollable().fd();
}

}  // namespace heddle
