// The one place that calls epoll and asks for the time.
#include "io/reactor.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <mutex>
#include <span>
#include <utility>

#include <pthread.h>

#include "base/assert.h"
#include "base/die.h"
#include "base/sigpipe_held.h"
#include "fiber/user_code.h"

namespace heddle::io {
namespace {

constexpr std::uint64_t pack(std::uint32_t index, std::uint32_t generation) {
  return (std::uint64_t{generation} << 32) | index;
}

// Rounded up, so that the deadline has passed when epoll_wait() returns.
int timeout_ms(Deadline until, TimePoint now) {
  if (until.is_never()) return -1;
  if (until.time() <= now) return 0;
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(until.time() - now).count();
  return static_cast<int>(std::min<std::int64_t>(wait, INT_MAX));
}

std::atomic<unsigned> g_forks{0};

// Differs from that of the process that this one was forked from. getpid() would be a system call
// at each look for events.
unsigned process_number() noexcept {
  static std::once_flag once;
  std::call_once(once, [] {
    (void)::pthread_atfork(nullptr, nullptr,
                           [] { g_forks.fetch_add(1, std::memory_order_relaxed); });
  });
  return g_forks.load(std::memory_order_relaxed);
}

}  // namespace

Result<std::unique_ptr<Reactor>> Reactor::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) {
    return Error{.code = Errc::kExhausted, .sys_errno = errno, .operation = "epoll_create1"};
  }
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return Error{.code = Errc::kExhausted, .sys_errno = errno, .operation = "eventfd"};
  epoll_event events{.events = EPOLLIN, .data = {.u64 = pack(kPostedIndex, 0)}};
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event.get(), &events) != 0) {
    return Error{.code = Errc::kExhausted, .sys_errno = errno, .operation = "epoll_ctl"};
  }
  return std::unique_ptr<Reactor>(new Reactor(std::move(epoll), std::move(event)));
}

Reactor::Reactor(UniqueFd epoll, UniqueFd posted)
    : process_(process_number()), epoll_(std::move(epoll)), event_(std::move(posted)), slots_(1) {
  look_at_clock();
}

TimePoint Reactor::look_at_clock() noexcept {
  now_ = std::chrono::steady_clock::now();  // tidy: the one clock.
  return now_;
}

bool Reactor::is_this_process() const noexcept {
  return process_ == g_forks.load(std::memory_order_relaxed);
}

void Reactor::forbid_after_fork() const noexcept {
  if (is_this_process()) [[likely]]
    return;
  die("a runtime is used after fork(), in another process than it was made in: make a new one "
      "in the child");
}

void Reactor::wait(Deadline until) {
  forbid_after_fork();
  if (!due_.empty()) until = Deadline::at(TimePoint::min());
  std::array<epoll_event, 256> buffer;
  // With the time of the last look this may wait too long by what ran since then.
  if (!until.is_never() && until.time() > now_) look_at_clock();
  const int count = ::epoll_wait(epoll_.get(), buffer.data(), static_cast<int>(buffer.size()),
                                 timeout_ms(until, now_));
  // Only a signal (EINTR) can end it without events or time.
  HEDDLE_ASSERT(count >= 0 || errno == EINTR);
  ++polls_;
  look_at_clock();
  bool posted = false;
  for (const epoll_event& event :
       std::span(buffer).first(static_cast<std::size_t>(std::max(count, 0)))) {
    const auto index = static_cast<std::uint32_t>(event.data.u64);
    if (index == kPostedIndex) {
      posted = true;
      continue;
    }
    const Slot& slot = slots_[index];
    if (slot.pollable != nullptr && slot.generation == event.data.u64 >> 32) {
      slot.pollable->notify(event.events);
    }
  }
  if (posted) take_posted();
  run_due();
}

void Reactor::post(fiber::Posted work) noexcept {
  forbid_after_fork();
  const std::lock_guard lock(mutex_);
  const bool told = !posted_.empty();  // And it has not come yet.
  posted_.splice(posted_.end(), work);
  if (told) return;
  // Fails only when the counter is at its maximum: then it has been told, too.
  (void)::eventfd_write(event_.get(), 1);
}

void Reactor::take_posted() {
  eventfd_t ignored = 0;
  (void)::eventfd_read(event_.get(), &ignored);
  const std::lock_guard lock(mutex_);
  due_.splice(due_.end(), posted_);
}

void Reactor::run_due() {
  while (!due_.empty()) {
    const fiber::UserCodeScope scope;
    const std::unique_ptr<detail::Work> work = std::move(due_.front());
    due_.pop_front();  // Before it can throw.
    work->run();
  }
}

int Reactor::add(Pollable& pollable, int fd, Token& added) {
  if (free_slots_.empty()) {
    // In this order: whatever fails has changed nothing. And remove() cannot fail.
    if (free_slots_.capacity() <= slots_.size()) free_slots_.reserve(2 * slots_.size());
    slots_.emplace_back();
    free_slots_.push_back(static_cast<std::uint32_t>(slots_.size() - 1));
  }
  forbid_after_fork();
  const std::uint32_t index = free_slots_.back();
  const Token token{index, slots_[index].generation};
  epoll_event events{.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                     .data = {.u64 = pack(token.index, token.generation)}};
  if (const int failed = register_with_epoll(fd, events); failed != 0) return failed;
  free_slots_.pop_back();
  slots_[token.index].pollable = &pollable;
  added = token;  // Not before: a Pollable without one gives no slot back.
  return 0;
}

// A registration ends with what the descriptor refers to, not with the descriptor. If that lives on
// elsewhere (dup(2), another process), the number can come again and already be there.
int Reactor::register_with_epoll(int fd, epoll_event& events) {
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &events) == 0) return 0;
  if (errno != EEXIST) return errno;
  const bool in_use = std::any_of(slots_.begin(), slots_.end(), [fd](const Slot& slot) {
    return slot.pollable != nullptr && slot.pollable->fd() == fd;
  });
  if (in_use) return EEXIST;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &events) == 0 ? 0 : errno;
}

// The kernel drops the registration itself, as a rule: see register_with_epoll(). It is not taken
// back here: that would be a system call per connection, and in a forked child it would be the
// parent's.
void Reactor::remove(const Token& token) noexcept {
  slots_[token.index].pollable = nullptr;
  ++slots_[token.index].generation;
  free_slots_.push_back(token.index);
}

Result<std::unique_ptr<Pollable>> Pollable::create(Reactor& reactor, UniqueFd fd) {
  std::unique_ptr<Pollable> made(new Pollable(reactor, std::move(fd)));
  const int failed = reactor.add(*made, made->fd(), made->token_);
  if (failed != 0) {
    return Error{.code = failed == ENOSPC || failed == ENOMEM ? Errc::kExhausted : Errc::kInvalid,
                 .sys_errno = failed,
                 .operation = "epoll_ctl"};
  }
  return made;
}

Pollable::~Pollable() {
  if (const fiber::Fiber* const waiter = reader_ != nullptr ? reader_ : writer_) {
    die("a socket, listener or the like is destroyed while fiber '%s' waits for it: cancel and "
        "join the fiber before",
        waiter->name.c_str());
  }
  if (token_.index != 0) reactor_.remove(token_);
  if (!close_sends) return;
  const SigpipeHeld held;
  fd_.reset();
}

void Pollable::close() noexcept {
  fd_.reset();
  notify(EPOLLHUP);
}

void Pollable::unregister() noexcept {
  if (!reactor_.is_this_process()) return;  // It is the parent's, which needs it.
  // Fails if there is no registration any more, which is as well.
  (void)::epoll_ctl(reactor_.epoll_.get(), EPOLL_CTL_DEL, fd_.get(), nullptr);
}

namespace {

[[noreturn]] void refuse_second(const char* what, const fiber::Fiber& first,
                                const fiber::Fiber& second) noexcept {
  die("fibers '%s' and '%s' wait at once to %s one descriptor: one may read while another writes",
      first.name.c_str(), second.name.c_str(), what);
}

[[noreturn]] void refuse_other_runtime(const char* purpose) noexcept {
  die("a wait %s a descriptor of another runtime: use it on the one that it was made for", purpose);
}

}  // namespace

Wake Pollable::wait(Interest interest, Deadline deadline) {
  const auto bits = static_cast<unsigned>(interest);
  const bool for_read = (bits & static_cast<unsigned>(Interest::kRead)) != 0;
  // A reader that would also like to write leaves that to a fiber that waits for it.
  const bool for_write =
      interest == Interest::kWrite || (interest == Interest::kReadOrWrite && writer_ == nullptr);
  if ((for_read && readable) || (for_write && writable)) return Wake::kReady;
  const char* const purpose = !for_read   ? "to write to"
                              : for_write ? "to read from or write to"
                                          : "to read from";
  fiber::Scheduler& scheduler = fiber::Scheduler::to_wait(purpose);
  if (&scheduler.source() != &reactor_) [[unlikely]]
    refuse_other_runtime(purpose);
  fiber::Fiber& fiber = scheduler.running_fiber();
  if (for_read && reader_ != nullptr) refuse_second("read from", *reader_, fiber);
  if (for_write && writer_ != nullptr) refuse_second("write to", *writer_, fiber);
  if (for_read) reader_ = &fiber;
  if (for_write) writer_ = &fiber;
  const Wake wake = scheduler.park(deadline, {purpose, fd()});
  if (for_read) reader_ = nullptr;
  if (for_write) writer_ = nullptr;
  return wake;
}

void Pollable::notify(std::uint32_t events) noexcept {
  constexpr std::uint32_t kAtEnd = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
  if ((events & (EPOLLPRI | kAtEnd)) != 0) short_read_drains = false;
  if ((events & (EPOLLIN | kAtEnd)) != 0) {
    readable = true;
    if (reader_ != nullptr) fiber::Scheduler::current().wake(*reader_);
  }
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
    writable = true;
    if (writer_ != nullptr) fiber::Scheduler::current().wake(*writer_);
  }
}

}  // namespace heddle::io
