// Signals through signalfd(2).
#include "heddle/signals.h"

#include <sys/signalfd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include <unistd.h>

#include "base/handle.h"
#include "base/hidden.h"
#include "base/interruption.h"
#include "fiber/scheduler.h"
#include "io/signals.h"

namespace heddle {

// Mask blocks signals for the calling thread as long as any of them says so: several may name the
// same signal, and end in any order.
class HEDDLE_HIDDEN Signals::Mask {
 public:
  explicit Mask(const sigset_t& wanted) noexcept : wanted_(wanted) {
    sigset_t before;
    (void)::pthread_sigmask(SIG_BLOCK, &wanted_, &before);
    for_each([&](int signal, Count& count) {
      if (count.masks++ == 0) count.blocked_before = sigismember(&before, signal) == 1;
    });
  }
  Mask(const Mask&) = delete;
  Mask& operator=(const Mask&) = delete;
  ~Mask() {
    sigset_t free;
    sigemptyset(&free);
    for_each([&](int signal, Count& count) {
      if (--count.masks == 0 && !count.blocked_before) sigaddset(&free, signal);
    });
    (void)::pthread_sigmask(SIG_UNBLOCK, &free, nullptr);
  }

 private:
  struct Count {
    unsigned masks = 0;
    bool blocked_before = false;
  };

  static std::array<Count, NSIG>& of_thread() noexcept {
    thread_local std::array<Count, NSIG> counts;
    return counts;
  }

  template <typename Function>
  void for_each(Function function) noexcept {
    std::array<Count, NSIG>& counts = of_thread();
    for (int signal = 1; signal < NSIG; ++signal) {
      if (sigismember(&wanted_, signal) == 1) {
        function(signal, counts[static_cast<std::size_t>(signal)]);
      }
    }
  }

  const sigset_t wanted_;
};

Result<Signals> io::SignalsFactory::make(Reactor& reactor, std::initializer_list<int> signals) {
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int signal : signals) sigaddset(&wanted, signal);
  UniqueFd fd(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) return Error{.code = Errc::kExhausted, .sys_errno = errno, .operation = "signalfd"};
  auto pollable = Pollable::create(reactor, std::move(fd));
  if (!pollable) return pollable.error();
  return Signals(*std::move(pollable), std::make_unique<Signals::Mask>(wanted));
}

Signals::Signals(std::unique_ptr<io::Pollable> pollable, std::unique_ptr<Mask> restore)
    : pollable_(std::move(pollable)), restore_(std::move(restore)) {}

Signals::Signals(Signals&& other) noexcept = default;
Signals& Signals::operator=(Signals&& other) noexcept = default;
Signals::~Signals() = default;

Result<int> Signals::wait(Deadline deadline) {
  constexpr const char* kOperation = "wait for a signal";
  io::Pollable& pollable = behind(pollable_, "Signals", "wait");
  if (const Wake wake = fiber::Scheduler::current().breathe(); wake != Wake::kReady) {
    return interruption(wake, kOperation);
  }
  for (;;) {
    signalfd_siginfo info{};
    if (::read(pollable.fd(), &info, sizeof(info)) == sizeof(info)) {
      return static_cast<int>(info.ssi_signo);
    }
    pollable.readable = false;
    const Wake wake = pollable.wait(Interest::kRead, deadline);
    if (wake != Wake::kReady) return interruption(wake, kOperation);
  }
}

}  // namespace heddle
