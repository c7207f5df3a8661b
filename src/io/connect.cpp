// Connecting to one address.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/interruption.h"
#include "fiber/scheduler.h"
#include "io/sockets.h"

namespace heddle::io {
namespace {

constexpr const char* kOperation = "connect";

Error failure(int sys_errno) {
  switch (sys_errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL:  // No free local port.
      return {.code = Errc::kExhausted, .sys_errno = sys_errno, .operation = kOperation};
    default:
      return {.code = Errc::kUnreachable, .sys_errno = sys_errno, .operation = kOperation};
  }
}

Error unfit(const char* operation, int sys_errno, const char* detail = "") {
  return {.code = Errc::kInvalid, .sys_errno = sys_errno, .operation = operation, .detail = detail};
}

// Why `address` must not be connected to with these options, if so.
std::optional<Error> objection(const Address& address, const ConnectOptions& options) {
  const int family = address.family();
  const bool excluded = (family == AF_INET && options.families == Families::kIpv6Only) ||
                        (family == AF_INET6 && options.families == Families::kIpv4Only);
  if (excluded) return unfit(kOperation, 0, "ConnectOptions::families excludes its family");
  if (options.local_address && options.local_address->family() != family) {
    return unfit(kOperation, 0, "ConnectOptions::local_address is of another family");
  }
  if (options.local_address && family == AF_UNIX) {
    return unfit(kOperation, 0, "ConnectOptions::local_address is for IPv4 and IPv6");
  }
  return std::nullopt;
}

// Before the connection is begun: its first segment counts, too.
Result<void> configure(int fd, const ConnectOptions& options) {
  if (options.keep_alive) {
    if (const auto set = set_keep_alive(fd, options.keep_alive); !set) return set;
  }
  if (options.user_timeout != Duration::zero()) {
    if (const auto set = set_user_timeout(fd, options.user_timeout); !set) return set;
  }
  if (!options.local_address) return {};
  const Address& local = *options.local_address;
  if (local.port() == 0) {
    // The port is chosen by connect(2), which can use one that others use for other peers: ip(7).
    const int on = 1;
    (void)::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
  }
  if (::bind(fd, local.data(), local.size()) != 0) {
    return about(local, unfit("bind", errno));
  }
  return {};
}

// Starts to connect. Returns 0, EINPROGRESS, or what went wrong. A Unix listener
// whose backlog is full gives EAGAIN, and no event tells when to try again.
Result<int> start(int fd, const Address& address, Deadline deadline) {
  fiber::Scheduler& scheduler = fiber::Scheduler::current();
  Duration pause = std::chrono::milliseconds(1);
  while (::connect(fd, address.data(), address.size()) != 0) {
    const int failed = errno;
    if (failed == EINTR) return EINPROGRESS;  // It goes on in the background: connect(2).
    if (failed != EAGAIN) return failed;
    const Deadline again = std::min(deadline, scheduler.after(pause));
    const Wake wake = scheduler.park(again, {"to connect again"});
    if (wake == Wake::kCancelled || again == deadline) return interruption(wake, kOperation);
    pause = std::min<Duration>(pause * 2, std::chrono::milliseconds(100));
  }
  return 0;
}

Result<Socket> attempt(Reactor& reactor, const Address& address, const ConnectOptions& options,
                       Deadline deadline) {
  // It may fail at once.
  if (const Wake wake = fiber::Scheduler::current().breathe(); wake != Wake::kReady) {
    return interruption(wake, kOperation);
  }
  if (const auto unusable = objection(address, options)) return *unusable;
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return failure(errno);
  if (const auto set = configure(fd.get(), options); !set) return set.error();
  const Result<int> started = start(fd.get(), address, deadline);
  if (!started) return started.error();
  if (*started != 0 && *started != EINPROGRESS) return failure(*started);
  // Registered only now: an unconnected socket would report a hang-up at once.
  auto socket = SocketFactory::make(reactor, std::move(fd));
  if (!socket || *started == 0) return socket;
  if (const Wake wake = SocketFactory::wait_connected(*socket, deadline); wake != Wake::kReady) {
    return interruption(wake, kOperation);
  }
  int failed = 0;
  socklen_t size = sizeof(failed);
  (void)::getsockopt(socket->native_handle(), SOL_SOCKET, SO_ERROR, &failed, &size);
  if (failed != 0) return failure(failed);
  return socket;
}

}  // namespace

Result<Socket> connect_address(Reactor& reactor, const Address& address,
                               const ConnectOptions& options, Deadline deadline) {
  Result<Socket> socket = attempt(reactor, address, options, deadline);
  if (!socket) return about(address, socket.error());
  return socket;
}

}  // namespace heddle::io
