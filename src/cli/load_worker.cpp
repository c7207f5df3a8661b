// The fibers of a load: one for each connection, and one that keeps time.
#include "cli/load_worker.h"

#include <sys/resource.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "heddle/descriptor.h"

namespace heddle::cli {
namespace {

// More would make the server's first answers late and ours time out.
constexpr std::size_t kHandshakesAtOnce = 64;

constexpr auto kLookAround = std::chrono::milliseconds(1);

// After a failure a connection waits: a server that refuses would be asked a million times else.
constexpr Duration kPauseMin = std::chrono::milliseconds(10);
constexpr Duration kPauseMax = std::chrono::seconds(1);

// The part of `all` that falls to one of the threads.
template <typename Number>
Number share(Number all, std::size_t threads, std::size_t index) {
  return static_cast<Number>(all / threads + (index < all % threads ? 1 : 0));
}

double thread_cpu_seconds() {
  rusage usage{};
  (void)::getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Error no_timer() {
  return {.code = Errc::kExhausted, .sys_errno = errno, .operation = "timerfd"};
}

}  // namespace

LoadWorker::LoadWorker(Runtime& runtime, const LoadPlan& plan, std::size_t index, LoadTally& tally,
                       LoadLive& live, LoadCrew& crew)
    : plan_(plan),
      index_(index),
      tally_(tally),
      live_(live),
      crew_(crew),
      target_(runtime, plan, tally),
      connections_(share(plan.connections, plan.threads, index)),
      idle_(share(plan.idle, plan.threads, index)),
      quota_(share(plan.requests, plan.threads, index)),
      gate_(kHandshakesAtOnce),
      due_(0) {}

Result<void> LoadWorker::run() {
  return scope([&](Scope& idle) {
    Result<void> ran = scope([&](Scope& active) { return run_active(idle, active); });
    idle.cancel();
    return ran;
  });
}

Result<void> LoadWorker::run_active(Scope& idle, Scope& active) {
  go_.add();
  leave_.add();
  Result<void> ran = open_all(idle, active);
  const Result<void> met = meet(crew_.ready);
  if (ran) ran = met;
  if (ran && usable_ != 0) ran = measure(active);
  if (ran) ran = meet(crew_.finished);
  if (!ran || usable_ == 0) active.cancel();
  leave_.done();
  return ran;
}

// From when all connections are open to the last answer.
Result<void> LoadWorker::measure(Scope& active) {
  busy_.add(connections_);
  target_.measuring = true;
  if (index_ == 0 && crew_.begin) crew_.begin();
  const double cpu_before = thread_cpu_seconds();
  start_ = last_ = load_clock();
  end_ = plan_.requests != 0 ? TimePoint::max() : start_ + plan_.duration;
  go_.done();
  const Result<void> kept = plan_.rate > 0 ? keep_time() : Result<void>();
  if (!kept) active.cancel();
  const bool ended = busy_.wait().has_value();
  const TimePoint planned = plan_.requests == 0 ? end_ : plan_.rate > 0 ? due_time(quota_) : start_;
  const TimePoint until = ended ? std::max(last_, planned) : load_clock();
  tally_.seconds = std::chrono::duration<double>(until - start_).count();
  tally_.cpu_seconds = thread_cpu_seconds() - cpu_before;
  tally_.begun = begun_;
  tell();
  return kept;
}

Result<void> LoadWorker::open_all(Scope& idle, Scope& active) {
  for (std::size_t count = 0; count < connections_; ++count) {
    opened_.add();
    const auto started = active.spawn("connection", [this] { be_active(); });
    if (!started) return started.error();
  }
  for (std::size_t count = 0; count < idle_; ++count) {
    opened_.add();
    const auto started = idle.spawn("idle connection", [this] { be_idle(); });
    if (!started) return started.error();
  }
  return opened_.wait();
}

Result<void> LoadWorker::meet(std::atomic<std::size_t>& threads) {
  threads.fetch_add(1);
  while (threads.load() < plan_.threads) {
    const Result<void> slept = this_fiber::sleep_until(this_fiber::after(kLookAround));
    if (!slept) return slept.error();
  }
  if (index_ == 0 && &threads == &crew_.finished && crew_.end) crew_.end();
  return {};
}

// Without new connections for each unit: opens it. With them: makes one unit that does not count,
// which also brings the session that the next one resumes.
bool LoadWorker::prepare(LoadConnection& connection) {
  if (!gate_.acquire()) return false;
  const Deadline deadline = this_fiber::after(plan_.timeout);
  bool good = connection.open(deadline);
  if (good && plan_.handshakes != LoadHandshakes::kKept) {
    good = connection.exchange(deadline);
    connection.close();
  }
  gate_.release();
  if (good) ++usable_;
  live_.opened.fetch_add(1, std::memory_order_relaxed);
  return good;
}

void LoadWorker::be_active() {
  LoadConnection connection(target_);
  (void)prepare(connection);
  opened_.done();
  if (!go_.wait()) return;
  send_all(connection);
  busy_.done();
  if (leave_.wait()) connection.close();
}

void LoadWorker::send_all(LoadConnection& connection) {
  Duration pause = Duration::zero();
  TimePoint now = start_;
  while (const std::optional<TimePoint> begin = next_begin(now)) {
    const std::optional<TimePoint> answered = connection.unit(*begin);
    tell();
    if (answered) {
      now = last_ = *answered;
      pause = Duration::zero();
      continue;
    }
    if (this_fiber::cancelled()) return;
    if (plan_.rate <= 0 && !this_fiber::sleep_until(this_fiber::after(pause))) return;
    pause = std::clamp(pause * 2, kPauseMin, kPauseMax);
    now = load_clock();
  }
}

void LoadWorker::be_idle() {
  LoadConnection connection(target_);
  bool good = gate_.acquire().has_value();
  if (good) {
    const Deadline deadline = this_fiber::after(plan_.timeout);
    good = connection.open(deadline) && connection.exchange(deadline);
    gate_.release();
    live_.opened.fetch_add(1, std::memory_order_relaxed);
  }
  opened_.done();
  if (good) connection.idle();
}

// When the next unit begins, or nothing if there is none.
std::optional<TimePoint> LoadWorker::next_begin(TimePoint now) {
  if (plan_.rate <= 0) {
    if (now >= end_ || (quota_ != 0 && begun_ == quota_)) return std::nullopt;
    ++begun_;
    return now;
  }
  if (!due_.acquire()) return std::nullopt;
  if (over_ || begun_ == tally_.due) return std::nullopt;
  return due_time(begun_++);
}

// The threads' units alternate.
TimePoint LoadWorker::due_time(std::uint64_t unit) const {
  const double number =
      static_cast<double>(unit) * static_cast<double>(plan_.threads) + static_cast<double>(index_);
  return start_ + Duration(std::llround(number / plan_.rate * 1e9));
}

// Lets units begin when they are due; afterwards lets those go that wait for more.
Result<void> LoadWorker::keep_time() {
  timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer_) return no_timer();
  const std::uint64_t all = quota_ != 0 ? quota_ : UINT64_MAX;
  while (tally_.due < all) {
    const TimePoint next = due_time(tally_.due);
    if (next >= end_) break;
    if (next > load_clock()) {
      const Result<void> slept = sleep_exactly(next);
      if (!slept) return slept.error().code == Errc::kCancelled ? Result<void>() : slept;
    }
    ++tally_.due;
    due_.release();
  }
  if (plan_.requests == 0) {
    (void)sleep_exactly(end_);
    over_ = true;
  }
  for (std::size_t count = 0; count < connections_; ++count) due_.release();
  return {};
}

// The runtime's own timers are of a millisecond. Setting it also takes back what is to be read.
Result<void> LoadWorker::sleep_exactly(TimePoint until) {
  const Duration since = until.time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
  const itimerspec when{
      .it_interval = {},
      .it_value = {.tv_sec = seconds.count(), .tv_nsec = Duration(since - seconds).count()}};
  if (::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr) != 0) return no_timer();
  const Result<Interest> ready = wait_descriptor(timer_.get(), Interest::kRead, Deadline::never());
  if (!ready) return ready.error();
  return {};
}

void LoadWorker::tell() noexcept {
  live_.answers.store(tally_.answers, std::memory_order_relaxed);
  if (!tally_.failures.empty()) live_.failures.store(tally_.failed(), std::memory_order_relaxed);
}

}  // namespace heddle::cli
