// The queue and the thread that empties it: see log_writer.h. The thread writes only what poll()
// says there is room for, so that it can always be told to stop.
//
// It starts with the first line. As long as a process has one thread, glibc's system calls and its
// allocator do without what threads need (SINGLE_THREAD_P).
#include "cli/log_writer.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <exception>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include "base/unique_fd.h"

namespace heddle::cli {
namespace {

constexpr int kLastWordsMilliseconds = 1000;

// So much needs no memory when it is short.
constexpr std::size_t kReservedBytes = std::size_t{4} * 1024;

}  // namespace

struct LogWriter::State {
  explicit State(int output) : descriptor(output), wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!wake) throw std::system_error(errno, std::generic_category(), "eventfd");
    queue.reserve(kReservedBytes);
    batch.reserve(kReservedBytes);
  }

  void start();
  void run();
  bool append(std::string_view line) noexcept;
  bool take(std::uint64_t& lost, bool& last);
  bool say_lost(std::uint64_t lost, bool& last);
  bool write_all(std::string_view text, bool& last);
  bool is_stopped();
  void wait_for_lines() const;

  const int descriptor;
  const UniqueFd wake;
  std::string batch;  // Of the thread, which writes it.

  std::mutex mutex;  // Protects what follows.
  std::string queue;
  std::uint64_t dropped = 0;
  bool stopped = false;
  std::thread thread;
};

// Precondition: the mutex is held.
void LogWriter::State::start() {
  // The thread inherits this: signals are for those who wait for them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  (void)::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread = std::thread([this] { run(); });
  } catch (const std::exception&) {
    // The line stays in the queue. The next one tries again, and so does the end.
  }
  (void)::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LogWriter::LogWriter(int descriptor) : state_(std::make_unique<State>(descriptor)) {}

// NOLINTNEXTLINE(bugprone-exception-escape): fmt throws for bad formats, and these are known.
LogWriter::~LogWriter() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopped = true;
  }
  if (state_->thread.joinable()) {
    (void)eventfd_write(state_->wake.get(), 1);
    state_->thread.join();
  } else {
    state_->run();  // What is left for want of a thread.
  }
}

void LogWriter::add(std::string_view line) noexcept {
  bool was_empty = false;
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->queue.size() + line.size() > kQueuedBytesMax) {
      ++state_->dropped;
      return;
    }
    was_empty = state_->queue.empty();
    if (!state_->append(line)) {
      ++state_->dropped;
      return;
    }
    if (!state_->thread.joinable()) state_->start();
  }
  if (was_empty) (void)eventfd_write(state_->wake.get(), 1);
}

// False if there is no memory.
bool LogWriter::State::append(std::string_view line) noexcept {
  try {
    queue += line;
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

// Fills the batch. Returns whether to go on; `last` is set once nothing more will come.
bool LogWriter::State::take(std::uint64_t& lost, bool& last) {
  const std::lock_guard lock(mutex);
  batch.clear();
  std::swap(batch, queue);
  lost = std::exchange(dropped, 0);
  last = stopped;
  return !batch.empty() || lost > 0 || !stopped;
}

bool LogWriter::State::say_lost(std::uint64_t lost, bool& last) {
  if (lost == 0) return true;
  std::array<char, 120> line{};
  constexpr fmt::string_view kLine = "{} lines were lost: nobody read them, or memory was short\n";
  auto* const end = fmt::format_to_n(line.data(), line.size(), kLine, lost).out;
  return write_all({line.data(), static_cast<std::size_t>(end - line.data())}, last);
}

bool LogWriter::State::is_stopped() {
  const std::lock_guard lock(mutex);
  return stopped;
}

void LogWriter::State::wait_for_lines() const {
  pollfd woken{.fd = wake.get(), .events = POLLIN, .revents = 0};
  (void)::poll(&woken, 1, -1);
  eventfd_t count = 0;
  (void)eventfd_read(wake.get(), &count);
}

// False if there is no sense in going on. A pipe that poll() calls writable takes PIPE_BUF bytes.
bool LogWriter::State::write_all(std::string_view text, bool& last) {
  while (!text.empty()) {
    std::array<pollfd, 2> events{pollfd{.fd = descriptor, .events = POLLOUT, .revents = 0},
                                 pollfd{.fd = wake.get(), .events = POLLIN, .revents = 0}};
    const int ready = ::poll(events.data(), last ? 1 : 2, last ? kLastWordsMilliseconds : -1);
    if (ready == 0) return false;
    if (events[0].revents == 0) {
      eventfd_t count = 0;
      (void)eventfd_read(wake.get(), &count);
      last = is_stopped();  // Or there are more lines, for later.
      continue;
    }
    const std::size_t most = std::min<std::size_t>(text.size(), PIPE_BUF);
    const ssize_t written = ::write(descriptor, text.data(), most);
    if (written < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (written > 0) text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

void LogWriter::State::run() {
  std::uint64_t lost = 0;
  bool last = false;
  while (take(lost, last)) {
    if (batch.empty() && lost == 0) {
      wait_for_lines();
    } else if (!(write_all(batch, last) && say_lost(lost, last)) && last) {
      return;
    }
  }
}

}  // namespace heddle::cli
