// run_on_threads(): how a crew begins, fails and stops.
#include "heddle/threads.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"

namespace heddle {
namespace {

constexpr Deadline kNever = Deadline::never();
constexpr ThreadsOptions kThree{.threads = 3};

// A worker of functions; it notes what happens to it.
struct Worker {
  using Run = std::function<Result<void>(Worker&)>;

  Worker(std::size_t number, Run body) : index(number), run_body(std::move(body)) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    EXPECT_EQ(std::this_thread::get_id(), thread);
    --alive;
  }

  Result<void> run() {
    EXPECT_EQ(std::this_thread::get_id(), thread);
    return run_body(*this);
  }

  std::size_t index;
  Run run_body;
  std::thread::id thread = std::this_thread::get_id();
  static inline std::atomic<int> alive = 0;
};

auto maker(Worker::Run run) {
  return [run = std::move(run)](Runtime&, std::size_t index) {
    ++Worker::alive;
    return std::make_unique<Worker>(index, run);
  };
}

Result<void> wait_to_be_stopped() {
  return this_fiber::sleep_until(kNever);
}

Error failure(const char* operation) {
  return Error{.code = Errc::kDisconnected, .operation = operation};
}

// Waits on the thread, for what another thread does.
class Gate {
 public:
  void open() { opened_.set_value(); }
  void wait() { until_.wait(); }

 private:
  std::promise<void> opened_;
  std::shared_future<void> until_ = opened_.get_future().share();
};

class ThreadsTest : public testing::Test {
 protected:
  ~ThreadsTest() override { EXPECT_EQ(Worker::alive, 0); }
};

TEST_F(ThreadsTest, EachIsMadeInTurnAndRunsOnAThreadOfItsOwn) {
  std::vector<std::thread::id> made;  // Unguarded: one after the other.
  std::atomic<int> ran = 0;
  const auto make = [&](Runtime& runtime, std::size_t index) {
    EXPECT_EQ(index, made.size());
    EXPECT_EQ(runtime.isolation(), Isolation::kClear);
    EXPECT_EQ(ran, 0);
    made.push_back(std::this_thread::get_id());
    return maker([&](Worker& worker) -> Result<void> {
      EXPECT_EQ(made.at(worker.index), std::this_thread::get_id());
      ++ran;
      return {};
    })(runtime, index);
  };
  ASSERT_TRUE(
      run_on_threads<Worker>({.threads = 3, .runtime = {.isolation = Isolation::kClear}}, make));
  EXPECT_EQ(ran, 3);
  ASSERT_EQ(made.size(), 3U);
  EXPECT_EQ(made[0], std::this_thread::get_id());
  EXPECT_NE(made[1], made[0]);
  EXPECT_NE(made[2], made[0]);
  EXPECT_NE(made[2], made[1]);
}

TEST_F(ThreadsTest, WithoutANumberThereIsOneForEachProcessor) {
  std::atomic<unsigned> ran = 0;
  ASSERT_TRUE(run_on_threads<Worker>({}, maker([&](Worker&) -> Result<void> {
                                       ++ran;
                                       return {};
                                     })));
  EXPECT_EQ(ran, std::max(std::thread::hardware_concurrency(), 1U));
}

TEST_F(ThreadsTest, IfOneCannotBeMadeNoneRuns) {
  for (const std::size_t bad : {0U, 1U, 2U}) {
    std::size_t made = 0;
    const auto make = [&](Runtime& runtime, std::size_t index) -> Result<std::unique_ptr<Worker>> {
      ++made;
      if (index == bad) return failure("make");
      return maker([](Worker&) -> Result<void> {
        ADD_FAILURE() << "runs";
        return {};
      })(runtime, index);
    };
    const auto supervise = [](Crew<Worker>&) { ADD_FAILURE() << "supervises"; };
    EXPECT_EQ(run_on_threads<Worker>(kThree, make, supervise).error().operation, "make");
    EXPECT_EQ(made, bad + 1);
    EXPECT_EQ(Worker::alive, 0);
  }
}

TEST_F(ThreadsTest, SupervisorThatIsCancelledAtTheEndHasNotFailed) {
  const auto done = run_on_threads<Worker>(
      kThree, maker([](Worker&) { return Result<void>(); }),
      [](Crew<Worker>&) -> Result<void> { return this_fiber::sleep_until(kNever); });
  EXPECT_TRUE(done) << done.error().message();
}

// A worker's destructor may still have the crew in its hands, when the runtimes are going.
TEST_F(ThreadsTest, CrewMayBeToldToStopUntilItIsOver) {
  struct Last {
    Result<void> run() { return {}; }
    ~Last() {
      if (*crew == nullptr) return;
      (*crew)->stop();
      (*crew)->post([](Last&) {});
    }
    std::shared_ptr<Crew<Last>*> crew;
  };
  const auto crew = std::make_shared<Crew<Last>*>(nullptr);
  std::optional<Crew<Last>> kept;
  const auto done = run_on_threads<Last>(
      kThree, [&](Runtime&, std::size_t) { return std::make_unique<Last>(Last{crew}); },
      [&](Crew<Last>& given) {
        kept.emplace(given);
        *crew = &*kept;
      });
  EXPECT_TRUE(done) << done.error().message();
}

TEST_F(ThreadsTest, WhatAMakerThrowsComesOut) {
  for (const std::size_t bad : {0U, 2U}) {
    const auto make = [&](Runtime& runtime, std::size_t index) {
      if (index == bad) throw std::runtime_error("made badly");
      return maker([](Worker&) { return wait_to_be_stopped(); })(runtime, index);
    };
    EXPECT_THROW((void)run_on_threads<Worker>(kThree, make), std::runtime_error);
    EXPECT_EQ(Worker::alive, 0);
  }
}

TEST_F(ThreadsTest, ErrorOfOneStopsAllAndIsTheResult) {
  for (const std::size_t bad : {0U, 2U}) {
    std::atomic<int> cancelled = 0;
    const auto run = [&](Worker& worker) -> Result<void> {
      if (worker.index == bad) return failure("serve");
      auto done = wait_to_be_stopped();
      if (done.error().code == Errc::kCancelled) ++cancelled;
      return done;
    };
    const auto supervise = [&](Crew<Worker>&) -> Result<void> { return wait_to_be_stopped(); };
    EXPECT_EQ(run_on_threads<Worker>(kThree, maker(run), supervise).error().operation, "serve");
    EXPECT_EQ(cancelled, 2);
  }
}

TEST_F(ThreadsTest, ExceptionOfOneStopsAllAndComesOut) {
  for (const std::size_t bad : {0U, 2U}) {
    const auto run = [&](Worker& worker) -> Result<void> {
      if (worker.index == bad) throw std::runtime_error("ran badly");
      return wait_to_be_stopped();
    };
    EXPECT_THROW((void)run_on_threads<Worker>(kThree, maker(run)), std::runtime_error);
    EXPECT_EQ(Worker::alive, 0);
  }
}

TEST_F(ThreadsTest, TheFirstFailureCounts) {
  const auto run = [](Worker& worker) -> Result<void> {
    if (worker.index == 1) return failure("first");
    (void)wait_to_be_stopped();
    if (worker.index == 2) throw std::runtime_error("second");
    return failure("third");
  };
  EXPECT_EQ(run_on_threads<Worker>(kThree, maker(run)).error().operation, "first");
}

TEST_F(ThreadsTest, OneThatJustEndsLeavesTheOthersAlone) {
  std::atomic<int> ended = 0;
  std::array<Gate, 3> gates;
  const auto run = [&](Worker& worker) -> Result<void> {
    if (worker.index > 0) gates.at(worker.index).wait();  // Until the one before has ended.
    if (worker.index < 2) gates.at(worker.index + 1).open();
    EXPECT_FALSE(this_fiber::cancelled());
    ++ended;
    return {};
  };
  const auto supervise = [&](Crew<Worker>&) {
    EXPECT_EQ(wait_to_be_stopped().error().code, Errc::kCancelled);
    EXPECT_EQ(ended, 3);
  };
  EXPECT_TRUE(run_on_threads<Worker>(kThree, maker(run), supervise));
}

TEST_F(ThreadsTest, AllAreStoppedWhenTheSupervisorReturns) {
  const auto run = [](Worker&) { return wait_to_be_stopped(); };
  EXPECT_TRUE(run_on_threads<Worker>(kThree, maker(run), [](Crew<Worker>&) {}));
  const auto fails = [](Crew<Worker>&) -> Result<void> { return failure("supervise"); };
  EXPECT_EQ(run_on_threads<Worker>(kThree, maker(run), fails).error().operation, "supervise");
  const auto throws = [](Crew<Worker>&) { throw std::runtime_error("supervised badly"); };
  EXPECT_THROW((void)run_on_threads<Worker>(kThree, maker(run), throws), std::runtime_error);
}

TEST_F(ThreadsTest, StopMayComeFromAnyThreadAndTwice) {
  const auto run = [](Worker&) { return wait_to_be_stopped(); };
  const auto supervise = [](Crew<Worker>& crew) {
    std::thread([&] {
      crew.stop();
      crew.stop();
    }).join();
    EXPECT_EQ(wait_to_be_stopped().error().code, Errc::kCancelled);
  };
  EXPECT_TRUE(run_on_threads<Worker>(kThree, maker(run), supervise));
}

TEST_F(ThreadsTest, PostedWorkRunsOnEachWorkersThread) {
  std::atomic<int> done = 0;
  const auto supervise = [&](Crew<Worker>& crew) {
    Gate all;
    crew.post([&](Worker& worker) {
      EXPECT_EQ(worker.thread, std::this_thread::get_id());
      if (++done == 2) all.open();
      if (worker.index == 0) all.wait();
    });
    while (done < 2) ASSERT_TRUE(this_fiber::yield());
  };
  EXPECT_TRUE(run_on_threads<Worker>(
      {.threads = 2}, maker([](Worker&) { return wait_to_be_stopped(); }), supervise));
}

TEST_F(ThreadsTest, WhatPostedWorkAndOtherFibersThrowStopsAll) {
  const auto run = [](Worker& worker) {
    // Nobody else would end this one, where the work throws.
    if (worker.index == 1) {
      EXPECT_TRUE(this_fiber::runtime().spawn("background", [] { (void)wait_to_be_stopped(); }));
    }
    return wait_to_be_stopped();
  };
  const auto supervise = [](Crew<Worker>& crew) {
    crew.post([](Worker& worker) {
      if (worker.index == 1) throw std::runtime_error("posted badly");
    });
    (void)wait_to_be_stopped();
  };
  EXPECT_THROW((void)run_on_threads<Worker>(kThree, maker(run), supervise), std::runtime_error);
  const auto in_background = [](Worker& worker) -> Result<void> {
    const auto task = this_fiber::runtime().spawn("background", [&worker] {
      if (worker.index == 2) throw std::runtime_error("spawned badly");
    });
    return {};
  };
  EXPECT_THROW((void)run_on_threads<Worker>(kThree, maker(in_background)), std::runtime_error);
}

TEST_F(ThreadsTest, StoppingTheFirstRuntimeEndsAll) {
  const auto run = [](Worker& worker) {
    if (worker.index == 0) this_fiber::runtime().stop();
    return wait_to_be_stopped();
  };
  const auto supervise = [](Crew<Worker>&) -> Result<void> { return wait_to_be_stopped(); };
  const auto done = run_on_threads<Worker>(kThree, maker(run), supervise);
  EXPECT_EQ(done.error().code, Errc::kCancelled);  // Not by Crew::stop().
}

// What it is for.
struct Server {
  Listener listener;
  void run() {
    serve(listener, [](Socket) {});
  }
};

TEST(ThreadsServeTest, EachThreadListensOnThePortThatTheFirstHasFound) {
  Address address = Address::parse("127.0.0.1:0").value();
  const auto make = [&](Runtime& runtime, std::size_t) {
    auto listener = Listener::create(runtime, address, {.reuse_port = true}).value();
    address = listener.address();
    return std::make_unique<Server>(Server{std::move(listener)});
  };
  const auto supervise = [&](Crew<Server>&) {
    for (int i = 0; i < 10; ++i) {
      EXPECT_TRUE(connect(this_fiber::runtime(), address, kNever));
    }
  };
  EXPECT_TRUE(run_on_threads<Server>({.threads = 2}, make, supervise));
}

}  // namespace
}  // namespace heddle
