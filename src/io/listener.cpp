// Accepting connections, and staying alive when there are too many.
#include "heddle/listener.h"

#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/handle.h"
#include "base/hidden.h"
#include "base/interruption.h"
#include "fiber/scheduler.h"
#include "io/sockets.h"

namespace heddle {
namespace {

constexpr const char* kAccept = "accept a connection";
constexpr int kYieldAfter = 32;
constexpr Duration kBackoffMin = std::chrono::milliseconds(5);
constexpr Duration kBackoffMax = std::chrono::seconds(1);

Error unusable(const char* operation, int sys_errno, const char* detail = "") {
  const bool exhausted = sys_errno == EMFILE || sys_errno == ENFILE || sys_errno == ENOMEM;
  return {.code = exhausted ? Errc::kExhausted : Errc::kInvalid,
          .sys_errno = sys_errno,
          .operation = operation,
          .detail = detail};
}

std::string unix_path(const Address& address) {
  return address.to_string().substr(std::string_view("unix:").size());
}

// 0 if there is none.
std::uint64_t inode_of(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

// PathLock keeps others of us from the folder of a Unix path. A server that has bound its path and
// does not listen yet looks like a dead one to remove_abandoned(), and would lose the path.
// Without the right to read the folder there is no lock.
class PathLock {
 public:
  explicit PathLock(const Address& address) {
    if (address.family() != AF_UNIX) return;
    const std::string folder = std::filesystem::path(unix_path(address)).parent_path();
    folder_ =
        UniqueFd(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Whoever holds it makes a few system calls. It ends with the descriptor.
    while (folder_ && ::flock(folder_.get(), LOCK_EX) != 0 && errno == EINTR) {
    }
  }

 private:
  UniqueFd folder_;
};

// Removes a socket file that a dead process left: nobody accepts there any more.
void remove_abandoned(const Address& address) {
  struct stat status {};
  const std::string path = unix_path(address);
  if (::lstat(path.c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return;
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe) return;
  if (::connect(probe.get(), address.data(), address.size()) != 0 && errno == ECONNREFUSED) {
    (void)::unlink(path.c_str());
  }
}

// Whether accept(2) says that this connection died, not that accepting fails.
bool only_this_connection(int sys_errno) {
  switch (sys_errno) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ENETDOWN:
    case EPERM:
      return true;
    default:
      return false;
  }
}

struct Watched {
  std::unique_ptr<io::Pollable> pollable;
  Address address;  // In fact bound.
};

Result<Watched> watch_listening(io::Reactor& reactor, UniqueFd fd) {
  const auto address = io::ask_address(fd.get(), ::getsockname, "getsockname");
  if (!address) {
    const bool other_family = address.error().code == Errc::kInvalid;
    return unusable("getsockname", address.error().sys_errno,
                    other_family ? "a listener is for IPv4, IPv6 and Unix sockets" : "");
  }
  auto pollable = io::Pollable::create(reactor, std::move(fd));
  if (!pollable) return io::about(*address, pollable.error());
  return Watched{*std::move(pollable), *address};
}

}  // namespace

class HEDDLE_HIDDEN Listener::State {
 public:
  // `inode` is that of our Unix path, or 0 without one.
  State(Watched watched, std::uint64_t inode)
      : pollable_(std::move(watched.pollable)), address_(watched.address), inode_(inode) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { close(); }

  Result<Socket> accept(Deadline deadline);
  void close() noexcept;
  const Address& address() const noexcept { return address_; }

 private:
  Wake await_connection(Deadline deadline);
  Error back_off(Deadline deadline, int sys_errno);

  std::unique_ptr<io::Pollable> pollable_;
  Address address_;
  std::uint64_t inode_;  // Another may have taken the path since.
  bool closed_ = false;
  int accepted_in_row_ = 0;
  Duration backoff_{};
};

Result<Listener> io::ListenerFactory::make(Reactor& reactor, UniqueFd fd, Path path) {
  auto watched = watch_listening(reactor, std::move(fd));
  if (!watched) return watched.error();
  const bool removes = path == Path::kOurs && watched->address.family() == AF_UNIX;
  const std::uint64_t inode = removes ? inode_of(unix_path(watched->address)) : 0;
  return Listener(std::make_unique<Listener::State>(*std::move(watched), inode));
}

Result<Listener> io::ListenerFactory::listen_on(Reactor& reactor, const Address& address,
                                                const ListenOptions& options) {
  UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return about(address, unusable("socket", errno));
  const PathLock lock(address);
  const int on = 1;
  if (address.family() == AF_UNIX) {
    remove_abandoned(address);
  } else {
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (options.reuse_port) {
      (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    }
  }
  // Inherited by what is accepted.
  if (options.keep_alive) {
    const auto set = set_keep_alive(fd.get(), options.keep_alive);
    if (!set) return about(address, set.error());
  }
  if (options.user_timeout != Duration::zero()) {
    const auto set = set_user_timeout(fd.get(), options.user_timeout);
    if (!set) return about(address, set.error());
  }
  if (::bind(fd.get(), address.data(), address.size()) != 0) {
    return about(address, unusable("bind", errno));
  }
  if (::listen(fd.get(), options.backlog) != 0) return about(address, unusable("listen", errno));
  return make(reactor, std::move(fd), Path::kOurs);
}

Result<Listener> io::ListenerFactory::adopt(Reactor& reactor, UniqueFd fd) {
  constexpr const char* kOperation = "adopt a socket that listens";
  int listens = 0;
  int type = 0;
  socklen_t size = sizeof(listens);
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 ||
      ::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
    return unusable(kOperation, errno);
  }
  if (listens == 0 || type != SOCK_STREAM) return unusable(kOperation, EINVAL);
  if (!set_nonblocking(fd.get())) return unusable(kOperation, errno);
  return make(reactor, std::move(fd), Path::kOthers);
}

Listener::Listener(std::unique_ptr<State> state) : state_(std::move(state)) {}
Listener::Listener(Listener&& other) noexcept = default;
Listener& Listener::operator=(Listener&& other) noexcept = default;
Listener::~Listener() = default;

Listener::State& Listener::state(const char* call) const noexcept {
  return behind(state_, "Listener", call);
}

Result<Socket> Listener::accept(Deadline deadline) {
  State& state = this->state();
  Result<Socket> socket = state.accept(deadline);
  if (!socket) return io::about(state.address(), socket.error());
  return socket;
}

void Listener::close() noexcept {
  state().close();
}

Address Listener::address() const {
  return state().address();
}

void Listener::State::close() noexcept {
  if (std::exchange(closed_, true)) return;
  if (inode_ != 0) {
    const PathLock lock(address_);
    const std::string path = unix_path(address_);
    if (inode_of(path) == inode_) (void)::unlink(path.c_str());
  }
  pollable_->close();
}

Result<Socket> Listener::State::accept(Deadline deadline) {
  for (;;) {
    if (const Wake wake = await_connection(deadline); wake != Wake::kReady) {
      return interruption(wake, kAccept);
    }
    if (closed_) {
      return Error{
          .code = Errc::kDisconnected, .operation = kAccept, .detail = "the listener is closed"};
    }
    UniqueFd fd(::accept4(pollable_->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      backoff_ = Duration::zero();
      return io::SocketFactory::make(pollable_->reactor(), std::move(fd));
    }
    const int failed = errno;
    if (failed == EAGAIN) {
      pollable_->readable = false;
      accepted_in_row_ = 0;
    } else if (!only_this_connection(failed)) {
      return back_off(deadline, failed);
    }
  }
}

Wake Listener::State::await_connection(Deadline deadline) {
  if (++accepted_in_row_ > kYieldAfter) {
    accepted_in_row_ = 0;
    const Wake wake = fiber::Scheduler::current().yield();
    if (wake != Wake::kReady) return wake;
  }
  return pollable_->wait(Interest::kRead, deadline);
}

// The connection stays in the backlog and makes no further event, so only time
// tells when to try again: trying at once would spin.
Error Listener::State::back_off(Deadline deadline, int sys_errno) {
  backoff_ = std::clamp(backoff_ * 2, kBackoffMin, kBackoffMax);
  fiber::Scheduler& scheduler = fiber::Scheduler::current();
  const Deadline again = scheduler.after(backoff_);
  const Wake wake = scheduler.park(std::min(again, deadline), {"to accept again"});
  if (wake == Wake::kCancelled) {
    return {.code = Errc::kCancelled, .operation = kAccept};
  }
  return {.code = Errc::kExhausted, .sys_errno = sys_errno, .operation = kAccept};
}

}  // namespace heddle
