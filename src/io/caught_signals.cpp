// The handler, and the process's table of what is caught.
//
// The handler sets a flag and writes to one eventfd for all, so it follows no pointer to what
// another thread may be destroying. Every CaughtSignals is woken, and the first to clear the flag
// has the signal. The eventfd is closed in a forked child only: elsewhere a handler may be running.
#include "io/caught_signals.h"

#include <sys/eventfd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

namespace heddle::io {
namespace {

constexpr const char* kOperation = "catch a signal";

struct Entry {
  unsigned names = 0;  // How many CaughtSignals name it.
  struct sigaction before {};
};

// What the handler uses.
std::array<std::atomic<bool>, NSIG> g_came;
std::atomic<int> g_event{-1};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

std::mutex g_mutex;  // Guards what follows. Held across fork().
std::array<Entry, NSIG> g_entries;
sigset_t g_mask_at_fork;

std::atomic<unsigned> g_process{0};  // Differs from the parent's.

template <typename Table>
auto& of(Table& table, int signal) noexcept {
  return table[static_cast<std::size_t>(signal)];
}

void handle(int signal) noexcept {
  const int before = errno;
  of(g_came, signal) = true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(g_event, &one, sizeof(one));
  errno = before;
}

// Others may have installed a handler of theirs since; that stays.
void restore_handler(int signal, const struct sigaction& before) noexcept {
  struct sigaction now {};
  (void)::sigaction(signal, nullptr, &now);
  if (now.sa_handler == handle) (void)::sigaction(signal, &before, nullptr);
}

void lock_for_fork() noexcept {
  g_mutex.lock();
  sigset_t all;
  sigfillset(&all);
  (void)::pthread_sigmask(SIG_SETMASK, &all, &g_mask_at_fork);
}

void unlock_after_fork() noexcept {
  const sigset_t mask = g_mask_at_fork;
  g_mutex.unlock();
  (void)::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

// The child cannot use the runtimes that it has inherited, so nobody in it would take a signal.
// Those that are for it are blocked until it has the handlers of before.
void reset_in_child() noexcept {
  for (int signal = 1; signal < NSIG; ++signal) {
    Entry& entry = of(g_entries, signal);
    if (entry.names != 0) restore_handler(signal, entry.before);
    entry.names = 0;
    of(g_came, signal) = false;
  }
  UniqueFd shared_with_parent(g_event.exchange(-1));
  ++g_process;
  unlock_after_fork();
}

// The thread's mask, as far as CaughtSignals change it.
struct Unblocked {
  unsigned times = 0;
  bool blocked_before = false;
};
thread_local std::array<Unblocked, NSIG> t_unblocked;

bool handler_may_return(int signal) noexcept {
  return signal != SIGSEGV && signal != SIGBUS && signal != SIGFPE && signal != SIGILL;
}

}  // namespace

CaughtSignals::CaughtSignals() noexcept : process_(g_process) {
  sigemptyset(&signals_);
}

Result<std::unique_ptr<CaughtSignals>> CaughtSignals::create(std::initializer_list<int> signals) {
  static std::once_flag once;
  std::call_once(once,
                 [] { (void)::pthread_atfork(lock_for_fork, unlock_after_fork, reset_in_child); });
  std::unique_ptr<CaughtSignals> caught(new CaughtSignals());  // Outlives the lock.
  const std::lock_guard lock(g_mutex);
  if (g_event < 0) g_event = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (g_event < 0) {
    return Error{.code = Errc::kExhausted, .sys_errno = errno, .operation = "eventfd"};
  }
  for (const int signal : signals) {
    if (const int failed = caught->add(signal); failed != 0) {
      return Error{.code = Errc::kInvalid, .sys_errno = failed, .operation = kOperation};
    }
  }
  caught->unblock();
  return caught;
}

CaughtSignals::~CaughtSignals() {
  restore_mask();
  if (process_ == g_process) remove();
}

// Returns 0 or the errno. Precondition: g_mutex is held.
int CaughtSignals::add(int signal) {
  if (signal <= 0 || signal >= NSIG || !handler_may_return(signal)) return EINVAL;
  if (holds(signal)) return 0;
  Entry& entry = of(g_entries, signal);
  if (entry.names == 0) {
    struct sigaction action {};
    action.sa_handler = handle;
    // On a stack of its own, where there is one: a fiber's may be nearly full.
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    if (::sigaction(signal, &action, &entry.before) != 0) return errno;
  }
  ++entry.names;
  sigaddset(&signals_, signal);
  return 0;
}

// A program may have been started with blocked signals.
void CaughtSignals::unblock() noexcept {
  sigset_t before;
  (void)::pthread_sigmask(SIG_UNBLOCK, &signals_, &before);
  is_unblocked_ = true;
  for (int signal = 1; signal < NSIG; ++signal) {
    if (!holds(signal)) continue;
    Unblocked& mine = of(t_unblocked, signal);
    if (mine.times++ == 0) mine.blocked_before = sigismember(&before, signal) == 1;
  }
}

void CaughtSignals::restore_mask() noexcept {
  if (!is_unblocked_) return;
  sigset_t blocked;
  sigemptyset(&blocked);
  for (int signal = 1; signal < NSIG; ++signal) {
    if (!holds(signal)) continue;
    Unblocked& mine = of(t_unblocked, signal);
    if (--mine.times == 0 && mine.blocked_before) sigaddset(&blocked, signal);
  }
  (void)::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
}

// A signal that nobody has taken, and nobody can any more, is for the handler of before.
void CaughtSignals::remove() noexcept {
  sigset_t again;
  sigemptyset(&again);
  {
    const std::lock_guard lock(g_mutex);
    for (int signal = 1; signal < NSIG; ++signal) {
      if (!holds(signal)) continue;
      Entry& entry = of(g_entries, signal);
      if (--entry.names != 0) continue;
      restore_handler(signal, entry.before);
      if (of(g_came, signal).exchange(false)) sigaddset(&again, signal);
    }
  }
  for (int signal = 1; signal < NSIG; ++signal) {
    if (sigismember(&again, signal) == 1) (void)::kill(::getpid(), signal);
  }
}

int CaughtSignals::take() noexcept {
  for (int signal = 1; signal < NSIG; ++signal) {
    if (holds(signal) && of(g_came, signal).exchange(false)) return signal;
  }
  return 0;
}

Result<UniqueFd> CaughtSignals::duplicate_event() const {
  UniqueFd duplicate(::fcntl(g_event, F_DUPFD_CLOEXEC, 0));
  if (!duplicate) {
    return Error{.code = Errc::kExhausted, .sys_errno = errno, .operation = "fcntl"};
  }
  return duplicate;
}

}  // namespace heddle::io
