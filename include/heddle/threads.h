// run_on_threads(): one runtime on each of several threads, which begin, fail and stop together.
#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/runtime.h"

namespace heddle {

struct ThreadsOptions {
  std::size_t threads = 0;   // Including the calling one. 0: as many as the machine has processors.
  RuntimeOptions runtime{};  // Of each thread.
};

namespace detail {

class HEDDLE_API CrewMember {
 public:
  CrewMember() = default;
  CrewMember(const CrewMember&) = delete;
  CrewMember& operator=(const CrewMember&) = delete;
  virtual ~CrewMember();

  virtual Result<void> run() = 0;
};

class CrewState;
using MakeMember = std::function<Result<std::unique_ptr<CrewMember>>(Runtime&, std::size_t)>;
using Supervise = std::function<Result<void>(CrewState&)>;

HEDDLE_API Result<void> run_on_threads(const ThreadsOptions& options, const MakeMember& make,
                                       const Supervise& supervise);
HEDDLE_API void stop(CrewState& crew) noexcept;
HEDDLE_API void post(CrewState& crew, const std::function<void(CrewMember&)>& work);

// Calls a function that returns void or Result<void>.
template <typename Function, typename... Arguments>
Result<void> run_for_result(Function&& function, Arguments&&... arguments) {
  if constexpr (std::is_void_v<std::invoke_result_t<Function, Arguments...>>) {
    std::invoke(std::forward<Function>(function), std::forward<Arguments>(arguments)...);
    return {};
  } else {
    return std::invoke(std::forward<Function>(function), std::forward<Arguments>(arguments)...);
  }
}

template <typename Worker>
class TypedMember final : public CrewMember {
 public:
  explicit TypedMember(std::unique_ptr<Worker> made) : worker(std::move(made)) {}
  Result<void> run() override {
    return run_for_result([this] { return worker->run(); });
  }

  const std::unique_ptr<Worker> worker;
};

}  // namespace detail

// Crew is the workers of one run_on_threads().
//
// Threads:  any, until run_on_threads() returns.
template <typename Worker>
class Crew {
 public:
  explicit Crew(detail::CrewState& state) noexcept : state_(state) {}

  // Cancels the fiber that runs each worker's run(), so that a serve() in it drains. Takes effect
  // soon, and does nothing the second time.
  void stop() noexcept { detail::stop(state_); }

  // Runs a copy of `work` with each worker, soon, on the worker's thread and outside any fiber, as
  // Runtime::post() does. It may run before and after the worker's run(), but no longer once its
  // runtime has no fibers left. What it throws counts as thrown by run().
  void post(std::function<void(Worker&)> work) {
    detail::post(state_, [work = std::move(work)](detail::CrewMember& member) {
      work(*static_cast<detail::TypedMember<Worker>&>(member).worker);
    });
  }

 private:
  detail::CrewState& state_;
};

// Runs a Worker on each of several threads, of which the calling one is the first, until all have
// ended. For servers with one Listener (ListenOptions::reuse_port) for each core.
//
// Beginning: `make(runtime, index)` is called on each thread, outside any fiber, one thread after
//   the other, so the others may read what the first has found out, such as the port that it
//   listens on. It returns the thread's worker, or an Error; the runtime outlives that. Once all
//   are made, worker.run(), which returns void or Result<void>, runs in a fiber of each runtime.
// Failing: an Error or exception of make() or run(), or one that comes out of Runtime::run() on one
//   of the threads, stops all workers, as Crew::stop() does. Once all have ended, run_on_threads()
//   returns the first Error, or throws the first exception, whichever came first. kCancelled from a
//   worker that was told to stop is not a failure. A worker that returns without failing does not
//   stop the others.
// Stopping: `supervise(crew)` runs in a fiber of the first runtime, beside the workers, and may
//   wait for Signals there; it returns void or Result<void>. All are stopped when it returns or
//   fails; it is cancelled when all have ended.
// Ending: the workers and runtimes are destroyed on their threads when all have ended. A thread
//   ends when its runtime has no fibers left, as Runtime::run().
//
// Also fails with kExhausted when the kernel gives no thread. Must not be called in a fiber.
template <typename Worker, typename Make, typename Supervise>
Result<void> run_on_threads(const ThreadsOptions& options, Make make, Supervise supervise) {
  static_assert(std::invocable<Supervise&, Crew<Worker>&>);
  return detail::run_on_threads(
      options,
      [&make](Runtime& runtime, std::size_t index) -> Result<std::unique_ptr<detail::CrewMember>> {
        Result<std::unique_ptr<Worker>> made = make(runtime, index);
        if (!made) return made.error();
        return std::unique_ptr<detail::CrewMember>(
            std::make_unique<detail::TypedMember<Worker>>(*std::move(made)));
      },
      [&supervise](detail::CrewState& state) {
        Crew<Worker> crew(state);
        return detail::run_for_result(supervise, crew);
      });
}

// The same without `supervise`: the workers go on until they end or one fails.
template <typename Worker, typename Make>
Result<void> run_on_threads(const ThreadsOptions& options, Make make) {
  return run_on_threads<Worker>(options, std::move(make), [](Crew<Worker>&) {
    (void)this_fiber::sleep_until(Deadline::never());
  });
}

}  // namespace heddle
