// The threads of a crew. Each has a seat, which outlives what happens on the thread, so that other
// threads may post to its runtime until all have ended.
#include "heddle/threads.h"

#include <algorithm>
#include <exception>
#include <functional>
#include <future>
#include <list>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "heddle/wait_queue.h"

#include "base/die.h"
#include "base/hidden.h"
#include "fiber/scheduler.h"
#include "fiber/user_code.h"
#include "io/reactor.h"
#include "io/runtime_access.h"

namespace heddle::detail {
namespace {

// What a thread has. Made, run and cleared on it.
struct Seat {
  std::optional<Runtime> runtime;
  std::unique_ptr<CrewMember> member;
  std::optional<Task<void>> task;
  // Made while memory is there.
  fiber::Posted cancel = fiber::posted([this] {
    if (task) task->cancel();
  });

  void clear() {
    task.reset();
    member.reset();
    runtime.reset();
  }
};

}  // namespace

class HEDDLE_HIDDEN CrewState {
 public:
  CrewState(const ThreadsOptions& options, const MakeMember& make, const Supervise& supervise)
      : options_(options), make_(make), supervise_(supervise) {}

  Result<void> run(std::size_t threads);
  void stop() noexcept;
  void post(const std::function<void(CrewMember&)>& work);

 private:
  Result<void> start(std::size_t threads);
  Result<void> start_thread(std::size_t index);
  Result<void> make(Seat& seat, std::size_t index);
  void live(std::size_t index, Seat& seat, std::promise<Result<void>> made);
  void spawn(Seat& seat);
  void run_member(CrewMember& member);
  void run_runtime(Runtime& runtime);
  void supervise();
  void lead();
  void fail(const Error& error);
  void fail(std::exception_ptr thrown);

  const ThreadsOptions& options_;
  const MakeMember& make_;
  const Supervise& supervise_;

  std::list<Seat> seats_;  // The first is the calling thread's.
  std::promise<bool> begin_;
  std::shared_future<bool> begun_ = begin_.get_future().share();
  std::promise<void> release_;
  std::shared_future<void> released_ = release_.get_future().share();

  // Of the first thread.
  std::size_t running_ = 0;  // Seats whose worker, or whose runtime, has not ended.
  WaitQueue ended_{"for the other threads"};

  std::mutex mutex_;  // Guards what follows.
  bool stopping_ = false;
  bool over_ = false;  // The runtimes go.
  std::optional<Error> error_;
  std::exception_ptr thrown_;

  std::vector<std::jthread> threads_;  // Joined before the rest is destroyed.
};

// The first failure counts.
void CrewState::fail(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ && error.code == Errc::kCancelled) return;
    if (!error_ && !thrown_) error_ = error;
  }
  stop();
}

void CrewState::fail(std::exception_ptr thrown) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_ && !thrown_) thrown_ = std::move(thrown);
  }
  stop();
}

void CrewState::stop() noexcept {
  const std::lock_guard lock(mutex_);
  if (std::exchange(stopping_, true) || over_) return;
  for (Seat& seat : seats_) {
    io::RuntimeAccess::reactor(*seat.runtime).post(std::move(seat.cancel));
  }
}

void CrewState::post(const std::function<void(CrewMember&)>& work) {
  const std::lock_guard lock(mutex_);
  if (over_) return;
  for (Seat& seat : seats_) {
    seat.runtime->post([&member = *seat.member, work] { std::invoke(work, member); });
  }
}

Result<void> CrewState::make(Seat& seat, std::size_t index) {
  auto runtime = Runtime::create(options_.runtime);
  if (!runtime) return runtime.error();
  seat.runtime = *std::move(runtime);
  auto member = fiber::call_user(make_, *seat.runtime, index);
  if (!member) return member.error();
  seat.member = *std::move(member);
  return {};
}

void CrewState::run_member(CrewMember& member) {
  try {
    if (const Result<void> done = member.run(); !done) fail(done.error());
    // tidy: the entry of a fiber, and the caller of run_on_threads() gets the exception.
  } catch (...) {
    fail(std::current_exception());
  }
}

void CrewState::spawn(Seat& seat) {
  auto task = seat.runtime->spawn("worker", [this, &seat] { run_member(*seat.member); });
  if (!task) return fail(task.error());
  seat.task = *std::move(task);
}

// Posted work and other fibers may throw; what is left then ends, too.
void CrewState::run_runtime(Runtime& runtime) {
  for (;;) {
    try {
      return runtime.run();
      // tidy: the last frame of the thread, and the caller of run_on_threads() gets the exception.
    } catch (...) {
      fail(std::current_exception());
    }
    runtime.stop();
  }
}

// A further thread's life.
void CrewState::live(std::size_t index, Seat& seat, std::promise<Result<void>> made) {
  try {
    made.set_value(make(seat, index));
    // tidy: start_thread() gets the exception.
  } catch (...) {
    made.set_exception(std::current_exception());
  }
  if (begun_.get()) {
    fiber::Posted end = fiber::posted([this] {
      --running_;
      ended_.wake_all();
    });
    spawn(seat);
    run_runtime(*seat.runtime);
    io::RuntimeAccess::reactor(*seats_.front().runtime).post(std::move(end));
    released_.wait();  // Until then others may post.
  }
  seat.clear();
}

Result<void> CrewState::start_thread(std::size_t index) {
  std::promise<Result<void>> made;
  std::future<Result<void>> outcome = made.get_future();
  Seat& seat = seats_.emplace_back();
  try {
    threads_.emplace_back([this, index, &seat, made = std::move(made)]() mutable {
      live(index, seat, std::move(made));
    });
  } catch (const std::system_error& failed) {
    return Error{.code = Errc::kExhausted,
                 .sys_errno = failed.code().value(),
                 .operation = "start a thread"};
  }
  return outcome.get();
}

Result<void> CrewState::start(std::size_t threads) {
  Result<void> made = make(seats_.emplace_back(), 0);
  while (made && seats_.size() < threads) made = start_thread(seats_.size());
  return made;
}

void CrewState::supervise() {
  try {
    if (const Result<void> done = supervise_(*this); !done) fail(done.error());
    // tidy: the entry of a fiber, and the caller of run_on_threads() gets the exception.
  } catch (...) {
    fail(std::current_exception());
  }
  stop();
}

// The first thread's, beside its worker.
void CrewState::lead() {
  scope([this](Scope& fibers) {
    auto supervisor = fibers.spawn("supervise", [this] { supervise(); });
    if (!supervisor) fail(supervisor.error());
    // However this one is cancelled, all must have ended.
    this_fiber::shielded([this] {
      if (seats_.front().task) (void)seats_.front().task->join();
      while (running_ != 0) (void)ended_.wait(Deadline::never());
    });
    stop();  // Before the supervisor finds that it is cancelled.
    fibers.cancel();
  });
}

Result<void> CrewState::run(std::size_t threads) {
  // However it ends, no thread is left waiting.
  class Release {
   public:
    explicit Release(CrewState& crew) : crew_(crew) {}
    Release(const Release&) = delete;
    Release& operator=(const Release&) = delete;
    ~Release() {
      if (!begun) crew_.begin_.set_value(false);
      {
        const std::lock_guard lock(crew_.mutex_);
        crew_.over_ = true;
      }
      crew_.release_.set_value();
      crew_.threads_.clear();
      for (Seat& seat : crew_.seats_) seat.clear();  // Of the first thread; the others are clear.
    }
    bool begun = false;

   private:
    CrewState& crew_;
  };
  Release release(*this);
  if (Result<void> started = start(threads); !started) return started;
  Seat& mine = seats_.front();
  running_ = threads_.size();
  auto leader = mine.runtime->spawn("lead", [this] { lead(); });
  if (!leader) return leader.error();
  spawn(mine);
  release.begun = true;
  begin_.set_value(true);
  run_runtime(*mine.runtime);
  const std::lock_guard lock(mutex_);
  if (thrown_) std::rethrow_exception(thrown_);
  if (error_) return *error_;
  return {};
}

CrewMember::~CrewMember() = default;

Result<void> run_on_threads(const ThreadsOptions& options, const MakeMember& make,
                            const Supervise& supervise) {
  if (fiber::Scheduler::current_or_null() != nullptr) {
    die("run_on_threads() where a runtime runs: call it on a plain thread, which becomes the first "
        "of them");
  }
  const std::size_t processors = std::max<std::size_t>(std::thread::hardware_concurrency(), 1);
  return CrewState(options, make, supervise)
      .run(options.threads != 0 ? options.threads : processors);
}

void stop(CrewState& crew) noexcept {
  crew.stop();
}

void post(CrewState& crew, const std::function<void(CrewMember&)>& work) {
  crew.post(work);
}

}  // namespace heddle::detail
