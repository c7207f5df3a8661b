// Driving c-ares.
#include "io/resolver.h"

#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <new>
#include <span>
#include <utility>

#include <ares.h>
#include <netdb.h>

#include "heddle/fiber.h"

#include "base/host_name.h"
#include "base/interruption.h"
#include "fiber/scheduler.h"

namespace heddle::io {
namespace {

constexpr const char* kOperation = "resolve a host name";

Error failure(int status) {
  const auto error = [](Errc code, const char* detail) {
    return Error{.code = code, .operation = kOperation, .detail = detail};
  };
  switch (status) {
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
      return error(Errc::kInvalid, "no such name");
    case ARES_ENODATA:
      return error(Errc::kInvalid, "it has no address");
    case ARES_ETIMEOUT:
    case ARES_ECONNREFUSED:
      return error(Errc::kUnreachable, "no name server answers");
    case ARES_ENOMEM:
      return error(Errc::kExhausted, "no memory");
    default:
      return error(Errc::kUnreachable, "the name server failed");
  }
}

}  // namespace

// Shared with c-ares, which cannot take a query back: the last one deletes it.
struct Resolver::Request {
  bool done = true;  // c-ares has no part in it.
  bool abandoned = false;
  int status = ARES_SUCCESS;
  std::vector<Address> addresses;

  // False if there is no memory: nothing may be thrown through c-ares.
  bool take(const ares_addrinfo& found) noexcept {
    try {
      for (const auto* node = found.nodes; node != nullptr && addresses.size() < kAddressesMax;
           node = node->ai_next) {
        addresses.push_back(Address::from_sockaddr(node->ai_addr, node->ai_addrlen));
      }
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  static void finished(void* request, int status, int /*timeouts*/, ares_addrinfo* found) {
    std::unique_ptr<Request> self(static_cast<Request*>(request));
    if (found != nullptr) {
      if (!self->take(*found)) status = ARES_ENOMEM;
      ares_freeaddrinfo(found);
    }
    self->status = status;
    self->done = true;
    if (!self->abandoned) (void)self.release();  // Its fiber has it.
  }
};

// Of the fiber: c-ares may have the request still.
struct Resolver::Release {
  void operator()(Request* request) const noexcept {
    if (request->done) {
      delete request;
    } else {
      request->abandoned = true;
    }
  }
};

Result<std::unique_ptr<Resolver>> Resolver::create(Reactor& reactor,
                                                   const ResolverOptions& options) {
  static std::once_flag once;
  std::call_once(once, [] { ares_library_init(ARES_LIB_INIT_ALL); });
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) {
    return Error{.code = Errc::kExhausted, .sys_errno = errno, .operation = "epoll_create1"};
  }
  auto sockets = Pollable::create(reactor, std::move(epoll));
  if (!sockets) return sockets.error();
  std::unique_ptr<Resolver> resolver(new Resolver(*std::move(sockets), options));
  if (const Result<void> configured = resolver->configure(); !configured) return configured.error();
  return resolver;
}

Resolver::Resolver(std::unique_ptr<Pollable> sockets, ResolverOptions options)
    : sockets_(std::move(sockets)), options_(std::move(options)) {}

Resolver::Stamp Resolver::Stamp::of(const std::string& path) noexcept {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .bytes = status.st_size,
          .seconds = status.st_mtim.tv_sec,
          .nanoseconds = status.st_mtim.tv_nsec};
}

// Reads the configuration, if it is not the one that was read before. Queries in progress end with
// ARES_EDESTRUCTION, and are made again by their fibers: their servers may be gone.
Result<void> Resolver::configure() {
  const Stamp now = Stamp::of(options_.configuration);
  if (channel_ != nullptr && now == configured_) return {};
  std::string path = options_.configuration;
  ares_options settings{};
  settings.sock_state_cb = socket_changed;
  settings.sock_state_cb_data = this;
  settings.resolvconf_path = path.data();
  int given = ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF;
  if (options_.port != 0) {
    settings.udp_port = settings.tcp_port = options_.port;
    given |= ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT;
  }
  ares_channeldata* made = nullptr;
  if (ares_init_options(&made, &settings, given) != ARES_SUCCESS) {
    return Error{.code = Errc::kExhausted, .operation = "set up the name resolver"};
  }
  ares_channeldata* const old = std::exchange(channel_, made);
  configured_ = now;
  if (old != nullptr) ares_destroy(old);
  if (driver_ != nullptr) fiber::Scheduler::current().wake(*driver_);
  if (!options_.servers.empty() &&
      ares_set_servers_ports_csv(channel_, options_.servers.c_str()) != ARES_SUCCESS) {
    return Error{.code = Errc::kInvalid, .operation = "set the name servers"};
  }
  return {};
}

Resolver::~Resolver() {
  if (channel_ != nullptr) ares_destroy(channel_);
}

Result<std::vector<Address>> Resolver::resolve(const std::string& host, std::uint16_t port,
                                               int family, Deadline deadline) {
  // c-ares would stop at a NUL, and ask for bytes that are no name.
  if (const auto judged = Host::parse(host); !judged) return judged.error();
  // It may be answered at once.
  if (const Wake wake = fiber::Scheduler::current().breathe(); wake != Wake::kReady) {
    return interruption(wake, kOperation);
  }
  // Shared with c-ares.
  std::unique_ptr<Request, Release> request(new Request);
  do {
    // Without memory for a new configuration the old one goes on.
    (void)configure();
    *request = Request();
    ask(host, port, family, request.get());
    while (!request->done) {
      const Wake wake = wait_for_progress(deadline);
      if (wake == Wake::kReady || request->done) continue;
      return interruption(wake, kOperation);
    }
  } while (request->status == ARES_EDESTRUCTION);
  if (request->status != ARES_SUCCESS) return failure(request->status);
  if (request->addresses.empty()) return failure(ARES_ENODATA);
  return std::move(request->addresses);
}

Result<std::vector<Address>> Resolver::resolve_all(const std::string& host, std::uint16_t port,
                                                   Deadline deadline) {
  return scope([&](Scope& fibers) -> Result<std::vector<Address>> {
    auto ipv4 = fibers.spawn("resolve", [&] { return resolve(host, port, AF_INET, deadline); });
    if (!ipv4) return ipv4.error();
    Result<std::vector<Address>> found = resolve(host, port, AF_INET6, deadline);
    // After this one's deadline, the other one's has passed, too.
    Result<std::vector<Address>> more = ipv4->join();
    if (!more && !found) {
      // One family has no address as a rule. That the other could not be asked for says more.
      return found.error().code == Errc::kInvalid ? more.error() : found.error();
    }
    if (!found) return more;
    if (more) found->insert(found->end(), more->begin(), more->end());
    return found;
  });
}

void Resolver::ask(const std::string& host, std::uint16_t port, int family, Request* request) {
  ares_addrinfo_hints hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = ARES_AI_NUMERICSERV;
  request->done = false;
  ares_getaddrinfo(channel_, host.c_str(), std::to_string(port).c_str(), &hints, Request::finished,
                   request);
}

Wake Resolver::wait_for_progress(Deadline deadline) {
  if (driver_ != nullptr) return others_.wait(deadline);
  driver_ = &fiber::Scheduler::current().running_fiber();
  const Deadline retry = next_timeout();
  const Wake wake = sockets_->wait(Interest::kRead, std::min(deadline, retry));
  if (wake != Wake::kCancelled) process_ready();
  driver_ = nullptr;
  others_.wake_all();
  return wake == Wake::kTimedOut && retry < deadline ? Wake::kReady : wake;
}

// What c-ares sends again, or gives up.
Deadline Resolver::next_timeout() const {
  timeval left{};
  if (ares_timeout(channel_, nullptr, &left) == nullptr) return Deadline::never();
  const Duration wait = std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec);
  return fiber::Scheduler::current().after(wait);
}

void Resolver::process_ready() {
  std::array<epoll_event, 16> events;
  int count = 0;
  do {
    count = ::epoll_wait(sockets_->fd(), events.data(), static_cast<int>(events.size()), 0);
    for (const epoll_event& event :
         std::span(events).first(static_cast<std::size_t>(std::max(count, 0)))) {
      const bool for_write = (event.events & EPOLLOUT) != 0;
      const bool for_read = (event.events & ~std::uint32_t{EPOLLOUT}) != 0;
      ares_process_fd(channel_, for_read ? event.data.fd : ARES_SOCKET_BAD,
                      for_write ? event.data.fd : ARES_SOCKET_BAD);
    }
    // c-ares may leave a part for the next call, and no further event tells of it.
  } while (count > 0);
  sockets_->readable = false;
  ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // Timeouts.
}

void Resolver::socket_changed(void* resolver, int fd, int readable, int writable) {
  const int epoll = static_cast<Resolver*>(resolver)->sockets_->fd();
  epoll_event event{.events = 0, .data = {.fd = fd}};
  if (readable != 0) event.events |= EPOLLIN;
  if (writable != 0) event.events |= EPOLLOUT;
  if (event.events == 0) {
    (void)::epoll_ctl(epoll, EPOLL_CTL_DEL, fd, nullptr);
  } else if (::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) != 0) {
    // If there is no room for it either, the query times out.
    (void)::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  }
}

}  // namespace heddle::io
