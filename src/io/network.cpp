// The public factories: what needs a runtime's reactor or resolver.
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <vector>

#include <unistd.h>

#include "heddle/descriptor.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/signals.h"
#include "heddle/socket.h"

#include "base/host_name.h"
#include "io/descriptor.h"
#include "io/race.h"
#include "io/resolver.h"
#include "io/runtime_access.h"
#include "io/signals.h"
#include "io/sockets.h"

namespace heddle {
namespace {

// TLS over datagrams would be garbled; and reading where nobody is says so late, or hangs.
Result<void> check_connected_stream(int fd) {
  constexpr const char* kOperation = "adopt a socket";
  int type = 0;
  socklen_t size = sizeof(type);
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    return Error{.code = Errc::kInvalid, .sys_errno = errno, .operation = kOperation};
  }
  if (type != SOCK_STREAM) {
    return Error{.code = Errc::kInvalid, .sys_errno = EPROTOTYPE, .operation = kOperation};
  }
  sockaddr_storage peer{};
  size = sizeof(peer);
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) {
    return Error{.code = Errc::kDisconnected, .sys_errno = errno, .operation = kOperation};
  }
  return {};
}

}  // namespace

Result<Socket> Socket::adopt(Runtime& runtime, int descriptor) {
  UniqueFd fd(descriptor);
  if (const auto checked = check_connected_stream(fd.get()); !checked) return checked.error();
  if (!io::set_nonblocking(fd.get())) {
    return Error{.code = Errc::kInvalid, .sys_errno = errno, .operation = "adopt a socket"};
  }
  return io::SocketFactory::make(io::RuntimeAccess::reactor(runtime), std::move(fd));
}

Result<Socket> connect(Runtime& runtime, const Address& address, const ConnectOptions& options,
                       Deadline deadline) {
  return io::connect_address(io::RuntimeAccess::reactor(runtime), address, options, deadline);
}

Result<Socket> connect(Runtime& runtime, const Address& address, Deadline deadline) {
  return connect(runtime, address, {}, deadline);
}

Result<io::RaceRules> io::race_rules(const ConnectOptions& options) {
  const Families families = options.families;
  const bool ipv6_first = families == Families::kIpv6First || families == Families::kIpv6Only;
  io::RaceRules rules{
      .first = ipv6_first ? AF_INET6 : AF_INET,
      .other_family = families == Families::kIpv6First || families == Families::kIpv4First,
      .attempt_delay = options.attempt_delay};
  if (!options.local_address) return rules;
  const int local = options.local_address->family();
  if (local == AF_UNIX || (local != rules.first && !rules.other_family)) {
    return Error{.code = Errc::kInvalid,
                 .operation = "connect",
                 .detail = "ConnectOptions::local_address is of no family that is tried"};
  }
  rules.first = local;
  rules.other_family = false;
  return rules;
}

namespace {

// `error`, with "host:port" as its context; without memory as it is.
Error about(std::string_view host, std::uint16_t port, const Error& error) noexcept {
  try {
    return error.with(std::string(host).append(":").append(std::to_string(port)));
  } catch (const std::bad_alloc&) {
    return error;
  }
}

Result<Socket> connect_name(Runtime& runtime, std::string_view host, std::uint16_t port,
                            const ConnectOptions& options, Deadline deadline) {
  const Result<io::RaceRules> rules = io::race_rules(options);
  if (!rules) return rules.error();
  const Result<io::Resolver*> resolver = io::RuntimeAccess::resolver(runtime);
  if (!resolver) return resolver.error();
  io::Race<Socket> race(
      [resolver = *resolver, name = std::string(host), port](int family, Deadline until) {
        return resolver->resolve(name, port, family, until);
      },
      [&reactor = io::RuntimeAccess::reactor(runtime), &options](const Address& address,
                                                                 Deadline until) {
        return io::connect_address(reactor, address, options, until);
      },
      deadline, *rules);
  return race.run();
}

}  // namespace

Result<Socket> connect(Runtime& runtime, std::string_view host, std::uint16_t port,
                       const ConnectOptions& options, Deadline deadline) {
  const Result<Host> judged = Host::parse(host);
  if (!judged) return about(host, port, judged.error());
  if (judged->is_address()) {
    const auto address = Address::from_ip(host, port);
    return address ? connect(runtime, *address, options, deadline) : address.error();
  }
  Result<Socket> socket = connect_name(runtime, host, port, options, deadline);
  if (!socket) return about(host, port, socket.error());
  return socket;
}

Result<Socket> connect(Runtime& runtime, std::string_view host, std::uint16_t port,
                       Deadline deadline) {
  return connect(runtime, host, port, {}, deadline);
}

Result<std::vector<Address>> resolve(Runtime& runtime, std::string_view host, std::uint16_t port,
                                     Deadline deadline) {
  const Result<Host> judged = Host::parse(host);
  if (!judged) return judged.error().with(host);
  if (judged->is_address()) {
    const auto address = Address::from_ip(host, port);
    if (!address) return address.error();
    return std::vector<Address>{*address};
  }
  const Result<io::Resolver*> resolver = io::RuntimeAccess::resolver(runtime);
  if (!resolver) return resolver.error().with(host);
  auto found = (*resolver)->resolve_all(std::string(host), port, deadline);
  if (!found) return found.error().with(host);
  return found;
}

Result<Interest> wait_descriptor(int descriptor, Interest interest, Deadline deadline) {
  return io::wait_descriptor(io::RuntimeAccess::reactor(this_fiber::runtime()), descriptor,
                             interest, deadline);
}

Result<std::size_t> DescriptorSource::read(std::span<std::byte> into, Deadline deadline) {
  while (!into.empty()) {
    const Result<Interest> ready = wait_descriptor(descriptor_, Interest::kRead, deadline);
    if (!ready) return ready.error();
    const ssize_t count = ::read(descriptor_, into.data(), into.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == EINTR || errno == EAGAIN) continue;  // Or another process was faster.
    const bool is_unfit = errno == EBADF || errno == EISDIR || errno == EINVAL;
    return Error{.code = is_unfit ? Errc::kInvalid : Errc::kDisconnected,
                 .sys_errno = errno,
                 .operation = "read"};
  }
  return std::size_t{0};
}

Result<Listener> Listener::create(Runtime& runtime, const Address& address, ListenOptions options) {
  return io::ListenerFactory::listen_on(io::RuntimeAccess::reactor(runtime), address, options);
}

Result<Listener> Listener::adopt(Runtime& runtime, int descriptor) {
  return io::ListenerFactory::adopt(io::RuntimeAccess::reactor(runtime), UniqueFd(descriptor));
}

Result<Signals> Signals::create(Runtime& runtime, std::initializer_list<int> signals) {
  return io::SignalsFactory::make(io::RuntimeAccess::reactor(runtime), signals);
}

}  // namespace heddle
