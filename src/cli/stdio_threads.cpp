// The two threads hand blocks over under a mutex and wake the fiber with Runtime::post(). A
// wake-up cannot be lost: the fiber looks under the mutex before it parks, and what is posted
// runs on the fiber's thread, so not between its look and its parking.
#include "cli/stdio_threads.h"

#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include <poll.h>
#include <unistd.h>

#include "heddle/runtime.h"
#include "heddle/wait_queue.h"

namespace heddle::cli {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{64} * 1024;
constexpr std::size_t kBlocksMax = 8;  // Handed over and not yet taken.

Error failed(const char* operation, int sys_errno) {
  return Error{.code = Errc::kDisconnected, .sys_errno = sys_errno, .operation = operation};
}

Error cancelled(const char* operation) {
  return Error{.code = Errc::kCancelled, .operation = operation};
}

// Waits until `descriptor` is worth a retry. For those that another process made non-blocking.
void wait_for(int descriptor, short events) {
  pollfd wanted{.fd = descriptor, .events = events, .revents = 0};
  (void)poll(&wanted, 1, -1);
}

// Writes all of `block`; returns 0 or the errno of what failed.
int write_all(int descriptor, const Block& block) {
  std::size_t done = 0;
  while (done < block.size()) {
    const ssize_t count = ::write(descriptor, block.data() + done, block.size() - done);
    const int sys_errno = errno;
    if (count >= 0) {
      done += static_cast<std::size_t>(count);
    } else if (sys_errno == EAGAIN) {
      wait_for(descriptor, POLLOUT);
    } else if (sys_errno != EINTR) {
      return sys_errno;
    }
  }
  return 0;
}

}  // namespace

struct InputThread::State : std::enable_shared_from_this<State> {
  State(Runtime& owner, int input, int event) : runtime(owner), descriptor(input), stop(event) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { close(stop); }

  void read_ahead();
  bool wait_for_input() const;
  Block read_block(int& sys_errno) const;
  bool hand_over(Block block, int sys_errno);
  std::optional<Result<Block>> try_next();

  Runtime& runtime;
  const int descriptor;
  const int stop;     // An eventfd: readable once the thread shall end.
  WaitQueue arrived;  // The fiber waits here; only touched on its thread.

  std::mutex mutex;  // Protects what follows.
  std::condition_variable taken;
  std::deque<Block> blocks;
  bool stopped = false;
  bool ended = false;  // Nothing will be added to `blocks`.
  int read_errno = 0;  // Why it ended, unless because there is no more input.
};

// Returns false when the thread shall end.
bool InputThread::State::wait_for_input() const {
  std::array<pollfd, 2> wanted{pollfd{.fd = descriptor, .events = POLLIN, .revents = 0},
                               pollfd{.fd = stop, .events = POLLIN, .revents = 0}};
  (void)poll(wanted.data(), wanted.size(), -1);
  return wanted[1].revents == 0;
}

// Returns an empty block at the end of the input, and with `sys_errno` when it cannot be read.
Block InputThread::State::read_block(int& sys_errno) const {
  Block block(kBlockBytes);
  while (wait_for_input()) {
    const ssize_t count = ::read(descriptor, block.data(), block.size());
    const int read_errno_now = errno;
    if (count >= 0) {
      block.resize(static_cast<std::size_t>(count));
      return block;
    }
    if (read_errno_now != EINTR && read_errno_now != EAGAIN) {
      sys_errno = read_errno_now;
      break;
    }
  }
  return {};
}

// Returns whether to go on reading, once there is room for it.
bool InputThread::State::hand_over(Block block, int sys_errno) {
  std::unique_lock lock(mutex);
  if (stopped) return false;
  ended = block.empty();
  read_errno = sys_errno;
  if (!ended) blocks.push_back(std::move(block));
  runtime.post([state = shared_from_this()] { state->arrived.wake_all(); });
  taken.wait(lock, [this] { return stopped || ended || blocks.size() < kBlocksMax; });
  return !stopped && !ended;
}

void InputThread::State::read_ahead() {
  bool going_on = true;
  while (going_on) {
    int sys_errno = 0;
    Block block = read_block(sys_errno);
    going_on = hand_over(std::move(block), sys_errno);
  }
}

Result<std::unique_ptr<InputThread>> InputThread::start(Runtime& runtime, int descriptor) {
  const int event = eventfd(0, EFD_CLOEXEC);
  const int sys_errno = errno;
  if (event < 0) {
    return Error{.code = Errc::kExhausted, .sys_errno = sys_errno, .operation = "eventfd"};
  }
  return std::unique_ptr<InputThread>(
      new InputThread(std::make_shared<State>(runtime, descriptor, event)));
}

InputThread::InputThread(std::shared_ptr<State> state)
    : state_(std::move(state)), thread_([shared = state_] { shared->read_ahead(); }) {}

InputThread::~InputThread() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopped = true;
  }
  state_->taken.notify_one();
  (void)eventfd_write(state_->stop, 1);
  thread_.join();
}

std::optional<Result<Block>> InputThread::State::try_next() {
  const std::lock_guard lock(mutex);
  if (!blocks.empty()) {
    Block block = std::move(blocks.front());
    blocks.pop_front();
    taken.notify_one();
    return block;
  }
  if (read_errno != 0) return failed("read", read_errno);
  if (ended) return Block();
  return std::nullopt;
}

Result<Block> InputThread::next() {
  while (true) {
    auto found = state_->try_next();
    if (found) return *std::move(found);
    if (state_->arrived.wait(Deadline::never()) == Wake::kCancelled) return cancelled("read");
  }
}

struct OutputThread::State : std::enable_shared_from_this<State> {
  State(Runtime& owner, int output) : runtime(owner), descriptor(output) {}

  void write_behind();
  Result<void> wait_until_fewer_than(std::size_t blocks_max);

  Runtime& runtime;
  const int descriptor;
  WaitQueue written;  // The fiber waits here; only touched on its thread.

  std::mutex mutex;  // Protects what follows.
  std::condition_variable given;
  std::deque<Block> blocks;  // The first is being written.
  bool stopped = false;      // Nothing will be added to `blocks`.
  int write_errno = 0;       // Once set, nothing is written any more.
};

void OutputThread::State::write_behind() {
  std::unique_lock lock(mutex);
  while (true) {
    given.wait(lock, [this] { return stopped || !blocks.empty(); });
    if (blocks.empty()) return;
    const Block& block = blocks.front();  // Adding to a deque does not move it.
    lock.unlock();
    const int sys_errno = write_all(descriptor, block);
    lock.lock();
    blocks.pop_front();
    if (sys_errno != 0) {
      write_errno = sys_errno;
      blocks.clear();
    }
    runtime.post([state = shared_from_this()] { state->written.wake_all(); });
    if (sys_errno != 0) return;
  }
}

Result<void> OutputThread::State::wait_until_fewer_than(std::size_t blocks_max) {
  while (true) {
    {
      const std::lock_guard lock(mutex);
      if (write_errno != 0) return failed("write", write_errno);
      if (blocks.size() < blocks_max) return {};
    }
    if (written.wait(Deadline::never()) == Wake::kCancelled) return cancelled("write");
  }
}

OutputThread::OutputThread(Runtime& runtime, int descriptor)
    : state_(std::make_shared<State>(runtime, descriptor)),
      thread_([shared = state_] { shared->write_behind(); }) {}

OutputThread::~OutputThread() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopped = true;
  }
  state_->given.notify_one();
  thread_.join();
}

Result<void> OutputThread::write(Block block) {
  const Result<void> room = state_->wait_until_fewer_than(kBlocksMax);
  if (!room) return room.error();
  const std::lock_guard lock(state_->mutex);
  state_->blocks.push_back(std::move(block));
  state_->given.notify_one();
  return {};
}

Result<void> OutputThread::finish() {
  return state_->wait_until_fewer_than(1);
}

}  // namespace heddle::cli
