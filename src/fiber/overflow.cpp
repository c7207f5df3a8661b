// The handler that looks whether a fault lies in the running fiber's guard pages.
#include "fiber/overflow.h"

#include <array>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>

#include <unistd.h>

#include "fiber/scheduler.h"

namespace heddle::fiber {
namespace {

struct sigaction g_before_segv;
struct sigaction g_before_bus;

// Signal safe: no allocation, no stdio.
class Line {
 public:
  Line& operator<<(const char* text) noexcept {
    const std::size_t room = text_.size() - used_;
    const std::size_t bytes = std::min(std::strlen(text), room);
    std::memcpy(text_.data() + used_, text, bytes);
    used_ += bytes;
    return *this;
  }

  Line& operator<<(std::size_t number) noexcept {
    std::array<char, 24> digits{};
    std::size_t at = digits.size() - 1;
    do {
      digits[--at] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    return *this << &digits[at];
  }

  void print() const noexcept {
    // Nothing can be done about a standard error that does not take it.
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text_.data(), used_);
  }

 private:
  std::array<char, 512> text_{};
  std::size_t used_ = 0;
};

void handle_fault(int signal, siginfo_t* info, void* context) {
  const Scheduler* const scheduler = Scheduler::current_or_null();
  const Fiber* const fiber = scheduler != nullptr ? scheduler->running() : nullptr;
  if (fiber != nullptr && fiber->stack.guard_contains(info->si_addr)) {
    Line line;
    line << "heddle: fiber '" << fiber->name.c_str() << "' ran over its stack of "
         << fiber->stack.bytes / 1024 << " KiB: spawn it with a larger stack_bytes\n";
    line.print();
    std::abort();
  }
  const struct sigaction& before = signal == SIGBUS ? g_before_bus : g_before_segv;
  if ((before.sa_flags & SA_SIGINFO) != 0) return before.sa_sigaction(signal, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    return before.sa_handler(signal);
  }
  // The fault comes again when this returns, and has its usual end.
  (void)::sigaction(signal, &before, nullptr);
}

void install_handlers() noexcept {
  struct sigaction action {};
  action.sa_sigaction = handle_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  (void)::sigaction(SIGSEGV, &action, &g_before_segv);
  (void)::sigaction(SIGBUS, &action, &g_before_bus);
}

// The fault happens because there is no stack left, so the handler needs another.
class SignalStack {
 public:
  SignalStack() noexcept {
    stack_t present{};
    (void)::sigaltstack(nullptr, &present);
    if ((present.ss_flags & SS_DISABLE) == 0) return;
    memory_ = std::make_unique<std::byte[]>(kBytes);  // NOLINT(*-avoid-c-arrays): raw memory.
    const stack_t ours{.ss_sp = memory_.get(), .ss_flags = 0, .ss_size = kBytes};
    (void)::sigaltstack(&ours, nullptr);
  }
  SignalStack(const SignalStack&) = delete;
  SignalStack& operator=(const SignalStack&) = delete;

  ~SignalStack() {
    if (!memory_) return;
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    (void)::sigaltstack(&none, nullptr);
  }

 private:
  static constexpr std::size_t kBytes = std::size_t{64} * 1024;

  std::unique_ptr<std::byte[]> memory_;  // NOLINT(*-avoid-c-arrays): raw memory.
};

}  // namespace

void watch_for_stack_overflow() noexcept {
  static std::once_flag once;
  std::call_once(once, install_handlers);
  thread_local const SignalStack stack;
}

}  // namespace heddle::fiber
