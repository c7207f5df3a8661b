// Driving c-ares.
#include "io/resolver.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <span>
#include <utility>

#include <ares.h>
#include <netdb.h>

#include "base/interruption.h"
#include "fiber/scheduler.h"

namespace heddle::io {
namespace {

Error failure(int status) {
  const auto error = [](Errc code, const char* operation) {
    return Error{.code = code, .operation = operation};
  };
  switch (status) {
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
      return error(Errc::kUnreachable, "resolve a host name: no such name");
    case ARES_ENODATA:
      return error(Errc::kUnreachable, "resolve a host name: no address of this kind");
    case ARES_ETIMEOUT:
    case ARES_ECONNREFUSED:
      return error(Errc::kUnreachable, "resolve a host name: no name server answers");
    case ARES_ENOMEM:
      return error(Errc::kExhausted, "resolve a host name");
    default:
      return error(Errc::kUnreachable, "resolve a host name: the name server failed");
  }
}

}  // namespace

// Shared with c-ares, which cannot take a query back: the last one deletes it.
struct Resolver::Request {
  bool done = false;
  bool abandoned = false;
  int status = ARES_SUCCESS;
  std::vector<Address> addresses;

  static void finished(void* request, int status, int /*timeouts*/, ares_addrinfo* found) {
    std::unique_ptr<Request> self(static_cast<Request*>(request));
    if (found != nullptr) {
      for (const auto* node = found->nodes; node != nullptr; node = node->ai_next) {
        self->addresses.push_back(Address::from_sockaddr(node->ai_addr, node->ai_addrlen));
      }
      ares_freeaddrinfo(found);
    }
    self->status = status;
    self->done = true;
    if (!self->abandoned) (void)self.release();  // Its fiber has it.
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
  std::unique_ptr<Resolver> resolver(new Resolver(*std::move(sockets)));
  ares_options settings{};
  settings.sock_state_cb = socket_changed;
  settings.sock_state_cb_data = resolver.get();
  if (ares_init_options(&resolver->channel_, &settings, ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS) {
    return Error{.code = Errc::kExhausted, .operation = "set up the name resolver"};
  }
  if (!options.servers.empty() &&
      ares_set_servers_ports_csv(resolver->channel_, options.servers.c_str()) != ARES_SUCCESS) {
    return Error{.code = Errc::kInvalid, .operation = "set the name servers"};
  }
  return resolver;
}

Resolver::Resolver(std::unique_ptr<Pollable> sockets) : sockets_(std::move(sockets)) {}

Resolver::~Resolver() {
  if (channel_ != nullptr) ares_destroy(channel_);
}

Result<std::vector<Address>> Resolver::resolve(const std::string& host, std::uint16_t port,
                                               int family, Deadline deadline) {
  auto* const request = new Request;
  ares_addrinfo_hints hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = ARES_AI_NUMERICSERV;
  ares_getaddrinfo(channel_, host.c_str(), std::to_string(port).c_str(), &hints, Request::finished,
                   request);
  while (!request->done) {
    const Wake wake = wait_for_progress(deadline);
    if (wake == Wake::kReady || request->done) continue;
    request->abandoned = true;
    return interruption(wake, "resolve a host name");
  }
  const std::unique_ptr<Request> owned(request);
  if (owned->status != ARES_SUCCESS) return failure(owned->status);
  if (owned->addresses.empty()) return failure(ARES_ENODATA);
  return std::move(owned->addresses);
}

Wake Resolver::wait_for_progress(Deadline deadline) {
  if (driving_) return others_.wait(deadline);
  driving_ = true;
  const Deadline retry = next_timeout();
  const Wake wake = sockets_->wait(Interest::kRead, std::min(deadline, retry));
  if (wake != Wake::kCancelled) process_ready();
  driving_ = false;
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
