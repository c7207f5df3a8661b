// epoll knows a registration by the open file and the number together. For a descriptor that others
// close and use again, neither says whose it is: a registration that was left behind is taken for
// the new one (EEXIST), and taking back the old one takes back another's. A duplicate has a number
// that is ours alone.
#include "io/descriptor.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <poll.h>

#include "base/interruption.h"
#include "base/unique_fd.h"
#include "fiber/scheduler.h"

namespace heddle::io {
namespace {

constexpr const char* kOperation = "wait for a descriptor";

constexpr bool has(Interest interest, Interest part) {
  return (static_cast<unsigned>(interest) & static_cast<unsigned>(part)) != 0;
}

// Which part of `interest` is so. Zero: none.
Interest both(Interest interest, bool readable, bool writable) {
  unsigned ready = 0;
  if (readable) ready |= static_cast<unsigned>(Interest::kRead);
  if (writable) ready |= static_cast<unsigned>(Interest::kWrite);
  return static_cast<Interest>(ready & static_cast<unsigned>(interest));
}

constexpr Interest kNothing{};

Error failure(int sys_errno) {
  const bool is_ours = sys_errno == EBADF;
  return {.code = is_ours ? Errc::kInvalid : Errc::kExhausted,
          .sys_errno = sys_errno,
          .operation = kOperation};
}

Result<Interest> look(int descriptor, Interest interest) {
  pollfd asked{.fd = descriptor, .events = 0, .revents = 0};
  if (has(interest, Interest::kRead)) asked.events |= POLLIN | POLLRDHUP;
  if (has(interest, Interest::kWrite)) asked.events |= POLLOUT;
  int count = 0;
  do {
    count = ::poll(&asked, 1, 0);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return failure(errno);
  // A negative number is ignored by poll().
  if (descriptor < 0 || (asked.revents & POLLNVAL) != 0) return failure(EBADF);
  const bool broken = (asked.revents & (POLLERR | POLLHUP)) != 0;
  return both(interest, broken || (asked.revents & (POLLIN | POLLRDHUP)) != 0,
              broken || (asked.revents & POLLOUT) != 0);
}

}  // namespace

Result<Interest> wait_descriptor(Reactor& reactor, int descriptor, Interest interest,
                                 Deadline deadline) {
  if (const Wake wake = fiber::Scheduler::current().breathe(); wake != Wake::kReady) {
    return interruption(wake, kOperation);
  }
  const Result<Interest> now = look(descriptor, interest);
  if (!now || *now != kNothing) return now;
  UniqueFd duplicate(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
  if (!duplicate) return failure(errno);
  const auto pollable = Pollable::create(reactor, std::move(duplicate));
  if (!pollable) return failure(pollable.error().sys_errno);
  Interest ready = kNothing;
  Wake wake = Wake::kReady;
  while (wake == Wake::kReady && ready == kNothing) {
    wake = (*pollable)->wait(interest, deadline);
    ready = both(interest, (*pollable)->readable, (*pollable)->writable);
  }
  (*pollable)->unregister();
  if (ready == kNothing) return interruption(wake, kOperation);
  return ready;
}

}  // namespace heddle::io
