// A queue, threads, and fibers that wait. One mutex guards it all: what the threads do takes
// far longer than handing it over.
//
// The life of a job: perform() queues it and parks; a thread takes it (kRunning), runs it, marks
// it kDone and posts to the fiber's own thread, where it is woken. A fiber that gives up
// takes a queued job out again, and marks a running one kAbandoned, so that nothing is posted
// to a runtime that may be gone by then.
#include "heddle/offload.h"

#include <condition_variable>
#include <csignal>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include <pthread.h>
#include <unistd.h>

#include "heddle/wait_queue.h"

#include "base/die.h"
#include "base/handle.h"
#include "base/hidden.h"
#include "base/interruption.h"
#include "fiber/scheduler.h"
#include "fiber/user_code.h"

namespace heddle {
namespace {

constexpr const char* kOperation = "run a function on another thread";

enum class Stage : std::uint8_t { kQueued, kRunning, kDone, kAbandoned };

// SignalMask is what a thread blocks.
class SignalMask {
 public:
  static SignalMask of_thread() noexcept {
    SignalMask mask;
    (void)pthread_sigmask(SIG_SETMASK, nullptr, &mask.signals_);
    return mask;
  }
  void set() const noexcept { (void)pthread_sigmask(SIG_SETMASK, &signals_, nullptr); }

 private:
  sigset_t signals_{};
};

struct Job {
  Job(std::shared_ptr<detail::TaskState> function, fiber::Source& source)
      : work(std::move(function)), home(source) {}

  std::shared_ptr<detail::TaskState> work;
  fiber::Source& home;
  const SignalMask mask = SignalMask::of_thread();  // The caller's.

  // Guarded by the pool's mutex.
  Stage stage = Stage::kQueued;
  std::list<std::shared_ptr<Job>>::iterator place;  // While queued.

  // Of the home's thread.
  WaitQueue caller{"for a function on another thread"};
  fiber::Posted wake = fiber::posted([this] { caller.wake_all(); });  // Made while it may fail.
};

// The threads inherit it: signals are for the threads that the program made itself.
class BlockedSignals {
 public:
  BlockedSignals() noexcept {
    sigset_t all;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, nullptr);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { before_.set(); }

 private:
  const SignalMask before_ = SignalMask::of_thread();
};

}  // namespace

class HEDDLE_HIDDEN OffloadPool::State {
 public:
  explicit State(const OffloadOptions& options) : options_(options) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  Result<void> start(std::size_t count);
  Result<void> perform(const std::shared_ptr<Job>& job, Late late, Deadline deadline);

  std::size_t threads() const noexcept { return threads_.size(); }
  OffloadStats stats() const;

 private:
  bool enqueue(const std::shared_ptr<Job>& job);
  bool give_up(Job& job, Late late);
  void serve() noexcept;
  void finish(const std::shared_ptr<Job>& job);

  const OffloadOptions options_;
  std::vector<std::thread> threads_;

  mutable std::mutex mutex_;  // Guards all below.
  std::condition_variable changed_;
  std::list<std::shared_ptr<Job>> queue_;
  bool stopping_ = false;
  OffloadStats stats_;  // But for queued.
};

OffloadPool::State::~State() {
  {
    const std::lock_guard lock(mutex_);
    if (!queue_.empty()) {
      die("an OffloadPool is destroyed while %zu functions wait in it: join the fibers that call "
          "run() first",
          queue_.size());
    }
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) {
    // The last owner was a function on the pool: it cannot wait for itself.
    if (thread.get_id() == std::this_thread::get_id()) {
      die("an OffloadPool is destroyed by a function that runs on it, and would wait for itself: "
          "keep it longer");
    }
    thread.join();
  }
}

Result<void> OffloadPool::State::start(std::size_t count) {
  const BlockedSignals blocked;
  threads_.reserve(count);
  try {
    while (threads_.size() < count) threads_.emplace_back([this] { serve(); });
  } catch (const std::system_error& failed) {
    return Error{.code = Errc::kExhausted,
                 .sys_errno = failed.code().value(),
                 .operation = "start a thread"};
  }
  return {};
}

OffloadStats OffloadPool::State::stats() const {
  const std::lock_guard lock(mutex_);
  OffloadStats stats = stats_;
  stats.queued = queue_.size();
  return stats;
}

Result<void> OffloadPool::State::perform(const std::shared_ptr<Job>& job, Late late,
                                         Deadline deadline) {
  if (!enqueue(job)) return Error{.code = Errc::kExhausted, .operation = kOperation};
  changed_.notify_one();
  const Wake wake = job->caller.wait(deadline);
  if (wake == Wake::kReady) return {};
  if (give_up(*job, late)) return interruption(wake, kOperation);
  (void)job->caller.wait(Deadline::never(), Cancellable::kNo);
  return {};
}

bool OffloadPool::State::enqueue(const std::shared_ptr<Job>& job) {
  const std::lock_guard lock(mutex_);
  if (queue_.size() >= options_.queue_max) {
    ++stats_.refused;
    return false;
  }
  job->place = queue_.insert(queue_.end(), job);
  return true;
}

// Returns false if the caller has to wait: the work still uses what is the caller's, or its
// result is on its way.
bool OffloadPool::State::give_up(Job& job, Late late) {
  const std::lock_guard lock(mutex_);
  if (job.stage == Stage::kQueued) {
    queue_.erase(job.place);
    ++stats_.withdrawn;
    return true;
  }
  if (job.stage != Stage::kRunning || late == Late::kWait) return false;
  job.stage = Stage::kAbandoned;
  ++stats_.abandoned;
  return true;
}

// A thread's life.
void OffloadPool::State::serve() noexcept {
  (void)pthread_setname_np(pthread_self(), "heddle-offload");
  // Of this thread alone. To give way needs no rights.
  [[maybe_unused]] const int nice_now = ::nice(options_.nice);
  const SignalMask all_blocked = SignalMask::of_thread();
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::shared_ptr<Job> job = std::move(queue_.front());
    queue_.pop_front();
    job->stage = Stage::kRunning;
    ++stats_.running;
    lock.unlock();
    fiber::call_user([&] {
      job->mask.set();
      job->work->run();
      all_blocked.set();
      finish(job);
      job.reset();  // May destroy a result.
    });
    lock.lock();
  }
}

// What was abandoned is for the caller to drop, after the lock: its result is of any type.
void OffloadPool::State::finish(const std::shared_ptr<Job>& job) {
  const std::lock_guard lock(mutex_);
  --stats_.running;
  ++stats_.done;
  if (job->stage == Stage::kAbandoned) return;
  job->stage = Stage::kDone;
  // Under the lock, and so before the caller can give up: it keeps the job until it is woken.
  job->home.post(std::move(job->wake));
}

Result<OffloadPool> OffloadPool::create(OffloadOptions options) {
  if (options.nice < 0 || options.nice > 19) {
    die("OffloadPool::create() with nice %d: 0 to 19, as of nice(1), without rights", options.nice);
  }
  std::size_t threads = options.threads;
  if (threads == 0) threads = std::max<std::size_t>(std::thread::hardware_concurrency(), 1);
  auto state = std::make_unique<State>(options);
  if (const Result<void> started = state->start(threads); !started) return started.error();
  return OffloadPool(std::move(state));
}

OffloadPool::OffloadPool(std::unique_ptr<State> state) : state_(std::move(state)) {}
OffloadPool::OffloadPool(OffloadPool&& other) noexcept = default;
OffloadPool& OffloadPool::operator=(OffloadPool&& other) noexcept = default;
OffloadPool::~OffloadPool() = default;

OffloadPool::State& OffloadPool::state(const char* call) const noexcept {
  return behind(state_, "OffloadPool", call);
}

Result<void> OffloadPool::perform(std::shared_ptr<detail::TaskState> work, Late late,
                                  Deadline deadline) {
  State& state = this->state("run");
  fiber::Scheduler& scheduler = fiber::Scheduler::current();
  (void)scheduler.breathe();  // It may be refused at once.
  // Else it could begin before the fiber learns that it shall not wait.
  if (scheduler.running_fiber().cancelled) return interruption(Wake::kCancelled, kOperation);
  return state.perform(std::make_shared<Job>(std::move(work), scheduler.source()), late, deadline);
}

std::size_t OffloadPool::threads() const noexcept {
  return state().threads();
}

OffloadStats OffloadPool::stats() const {
  return state().stats();
}

}  // namespace heddle
