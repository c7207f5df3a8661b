// Signals through signalfd(2).
#include "heddle/signals.h"

#include <sys/signalfd.h>

#include <cerrno>
#include <csignal>

#include <unistd.h>

#include "base/interruption.h"
#include "fiber/scheduler.h"
#include "io/signals.h"

namespace heddle {

struct Signals::Mask {
  sigset_t before{};
};

Result<std::unique_ptr<Signals>> io::SignalsFactory::make(Reactor& reactor,
                                                          std::initializer_list<int> signals) {
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int signal : signals) sigaddset(&wanted, signal);
  UniqueFd fd(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) return Error{.code = Errc::kExhausted, .sys_errno = errno, .operation = "signalfd"};
  auto pollable = Pollable::create(reactor, std::move(fd));
  if (!pollable) return pollable.error();
  auto mask = std::make_unique<Signals::Mask>();
  (void)::pthread_sigmask(SIG_BLOCK, &wanted, &mask->before);
  return std::unique_ptr<Signals>(new Signals(*std::move(pollable), std::move(mask)));
}

Signals::Signals(std::unique_ptr<io::Pollable> pollable, std::unique_ptr<Mask> restore)
    : pollable_(std::move(pollable)), restore_(std::move(restore)) {}

Signals::~Signals() {
  (void)::pthread_sigmask(SIG_SETMASK, &restore_->before, nullptr);
}

Result<int> Signals::wait(Deadline deadline) {
  constexpr const char* kOperation = "wait for a signal";
  if (const Wake wake = fiber::Scheduler::current().breathe(); wake != Wake::kReady) {
    return interruption(wake, kOperation);
  }
  for (;;) {
    signalfd_siginfo info{};
    if (::read(pollable_->fd(), &info, sizeof(info)) == sizeof(info)) {
      return static_cast<int>(info.ssi_signo);
    }
    pollable_->readable = false;
    const Wake wake = pollable_->wait(Interest::kRead, deadline);
    if (wake != Wake::kReady) return interruption(wake, kOperation);
  }
}

}  // namespace heddle
