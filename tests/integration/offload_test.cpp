// OffloadPool: functions on other threads, and the fibers that wait for them.
#include "heddle/offload.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <memory>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <netdb.h>
#include <pthread.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"
#include "heddle/sync.h"

namespace heddle {
namespace {

// Held is a function that, on the pool's thread, says that it has begun and waits to be let go.
class Held {
 public:
  explicit Held(Runtime& runtime) : runtime_(runtime) {}

  // On the pool's thread.
  void hold() {
    runtime_.post([this] { begun_.release(); });
    gate_.acquire();
  }

  // In a fiber.
  void await_begin() { begun_.acquire().value(); }
  void let_go() { gate_.release(); }

 private:
  Runtime& runtime_;
  Semaphore begun_{0};
  std::binary_semaphore gate_{0};
};

constexpr Deadline kPast = Deadline::at(TimePoint::min());

OffloadPool pool_of(std::size_t threads, std::size_t queue_max = 1024) {
  return OffloadPool::create({.threads = threads, .queue_max = queue_max}).value();
}

// Runs `body` in a fiber, and all that it spawns.
template <typename Body>
void run(Runtime& runtime, Body body) {
  ASSERT_TRUE(runtime.spawn("test", body));
  runtime.run();
}

TEST(OffloadTest, ResultsOfEveryKindComeBackFromAnotherThread) {
  auto pool = pool_of(2);
  auto runtime = Runtime::create().value();
  run(runtime, [&] {
    const auto home = std::this_thread::get_id();
    const auto elsewhere = pool.run([] { return std::this_thread::get_id(); }, Deadline::never());
    EXPECT_NE(*elsewhere, home);
    EXPECT_EQ(std::this_thread::get_id(), home);
    int written = 0;
    pool.run([&] { written = 7; }, Deadline::never()).value();
    EXPECT_EQ(written, 7);
    const auto owned =  // Function and result are move-only.
        pool.run([seven = std::make_unique<int>(7)] { return std::make_unique<int>(*seven + 1); },
                 Deadline::never());
    EXPECT_EQ(**owned, 8);
    const Result<int> refused = pool.run(
        []() -> Result<int> {
          return Error{.code = Errc::kUnreachable, .sys_errno = EIO, .operation = "look"};
        },
        Deadline::never());
    EXPECT_EQ(refused.error().code, Errc::kUnreachable);
    EXPECT_EQ(refused.error().sys_errno, EIO);
    EXPECT_STREQ(refused.error().operation, "look");
  });
  EXPECT_EQ(pool.stats().done, 4U);
}

TEST(OffloadTest, WhatAFunctionThrowsIsThrownInTheFiber) {
  auto pool = pool_of(1);
  auto runtime = Runtime::create().value();
  run(runtime, [&] {
    try {
      (void)pool.run([]() -> int { throw std::runtime_error("from below"); }, Deadline::never());
      ADD_FAILURE() << "nothing thrown";
    } catch (const std::runtime_error& thrown) {
      EXPECT_STREQ(thrown.what(), "from below");
    }
    // The thread has survived it.
    EXPECT_EQ(pool.run([] { return 1; }, Deadline::never()).value(), 1);
  });
}

TEST(OffloadTest, OtherFibersGoOnWhileAFunctionBlocks) {
  auto pool = pool_of(1);
  auto runtime = Runtime::create().value();
  Held held(runtime);
  int rounds = 0;
  run(runtime, [&] {
    scope([&](Scope& fibers) {
      auto blocked = fibers.spawn(
          "blocked", [&] { return pool.run([&] { held.hold(); }, Deadline::never()); });
      held.await_begin();
      for (; rounds < 1000; ++rounds) this_fiber::yield().value();
      EXPECT_FALSE(blocked->finished());
      held.let_go();
      EXPECT_TRUE(blocked->join());
    });
  });
  EXPECT_EQ(rounds, 1000);
}

TEST(OffloadTest, FunctionsBeginInTheOrderInWhichTheyCame) {
  auto pool = pool_of(1);
  auto runtime = Runtime::create().value();
  Held held(runtime);
  std::vector<int> order;  // Touched by the pool's one thread only.
  run(runtime, [&] {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(
          fibers.spawn("first", [&] { return pool.run([&] { held.hold(); }, Deadline::never()); }));
      held.await_begin();
      for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(fibers.spawn("next", [&, i] {
          pool.run([&order, i] { order.push_back(i); }, Deadline::never()).value();
        }));
      }
      this_fiber::yield().value();
      EXPECT_EQ(pool.stats().queued, 20U);
      EXPECT_EQ(pool.stats().running, 1U);
      held.let_go();
    });
  });
  ASSERT_EQ(order.size(), 20U);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(OffloadTest, WhoGivesUpBeforeTheFunctionBeginsWithdrawsIt) {
  auto pool = pool_of(1);
  auto runtime = Runtime::create().value();
  Held held(runtime);
  std::atomic<int> ran = 0;
  run(runtime, [&] {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(
          fibers.spawn("first", [&] { return pool.run([&] { held.hold(); }, Deadline::never()); }));
      held.await_begin();
      EXPECT_EQ(pool.run([&] { ++ran; }, kPast).error().code, Errc::kTimedOut);
      EXPECT_EQ(pool.run_abandonable([&] { ++ran; }, kPast).error().code, Errc::kTimedOut);
      auto cancelled =
          fibers.spawn("cancelled", [&] { return pool.run([&] { ++ran; }, Deadline::never()); });
      this_fiber::yield().value();
      cancelled->cancel();
      EXPECT_EQ(cancelled->join().error().code, Errc::kCancelled);
      EXPECT_EQ(pool.stats().queued, 0U);
      held.let_go();
    });
  });
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(pool.stats().withdrawn, 3U);
  EXPECT_EQ(pool.stats().done, 1U);
}

TEST(OffloadTest, AFunctionThatHasBegunIsWaitedForAndItsResultCounts) {
  auto pool = pool_of(1);
  auto runtime = Runtime::create().value();
  Held held(runtime);
  run(runtime, [&] {
    scope([&](Scope& fibers) {
      auto caller = fibers.spawn("caller", [&]() -> Result<std::string> {
        std::string own = "the caller's variable";
        auto result = pool.run(
            [&] {
              held.hold();
              return own + ", used";
            },
            Deadline::never());
        EXPECT_TRUE(this_fiber::cancelled());
        return result;
      });
      held.await_begin();
      caller->cancel();
      for (int i = 0; i < 100; ++i) this_fiber::yield().value();
      EXPECT_FALSE(caller->finished());
      held.let_go();
      EXPECT_EQ(caller->join().value(), "the caller's variable, used");
    });
  });
  EXPECT_EQ(pool.stats().abandoned, 0U);
}

// Its result must not go anywhere: not to the fiber, nor to a runtime that is gone.
TEST(OffloadTest, AnAbandonedFunctionGoesOnAloneAndMayOutliveTheRuntime) {
  struct Shared {
    std::binary_semaphore gate{0};
    std::atomic<bool> ended = false;
  };
  auto pool = pool_of(1);
  const auto shared = std::make_shared<Shared>();
  const auto result = std::make_shared<int>(0);
  {
    auto runtime = Runtime::create().value();
    Semaphore begun(0);
    run(runtime, [&] {
      scope([&](Scope& fibers) {
        auto caller = fibers.spawn("caller", [&] {
          return pool.run_abandonable(
              [shared, result, &begun, home = &runtime] {
                home->post([&begun] { begun.release(); });
                shared->gate.acquire();
                shared->ended = true;
                return result;
              },
              Deadline::never());
        });
        begun.acquire().value();
        caller->cancel();
        EXPECT_EQ(caller->join().error().code, Errc::kCancelled);
      });
    });
  }
  EXPECT_FALSE(shared->ended);
  EXPECT_EQ(pool.stats().running, 1U);
  EXPECT_EQ(pool.stats().abandoned, 1U);
  shared->gate.release();
  { const OffloadPool joined = std::move(pool); }
  EXPECT_TRUE(shared->ended);
  EXPECT_EQ(result.use_count(), 1);
}

TEST(OffloadTest, AFullQueueRefusesAtOnce) {
  auto pool = pool_of(1, /*queue_max=*/2);
  auto runtime = Runtime::create().value();
  Held held(runtime);
  run(runtime, [&] {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(
          fibers.spawn("first", [&] { return pool.run([&] { held.hold(); }, Deadline::never()); }));
      held.await_begin();
      for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(fibers.spawn("queued", [&] { pool.run([] {}, Deadline::never()).value(); }));
      }
      this_fiber::yield().value();
      EXPECT_EQ(pool.run([] {}, Deadline::never()).error().code, Errc::kExhausted);
      EXPECT_EQ(pool.stats().refused, 1U);
      held.let_go();
    });
    EXPECT_TRUE(pool.run([] {}, Deadline::never()));
  });
}

TEST(OffloadTest, ACancelledFibersFunctionNeverRuns) {
  auto pool = pool_of(1);
  auto runtime = Runtime::create().value();
  bool ran = false;
  run(runtime, [&] {
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("cancelled",
                               [&] { return pool.run([&] { ran = true; }, Deadline::never()); });
      task->cancel();
      EXPECT_EQ(task->join().error().code, Errc::kCancelled);
    });
  });
  EXPECT_FALSE(ran);
  // It was not even queued, where a thread could have taken it.
  EXPECT_EQ(pool.stats().done, 0U);
  EXPECT_EQ(pool.stats().withdrawn, 0U);
}

sigset_t mask_of_thread() {
  sigset_t mask;
  EXPECT_EQ(pthread_sigmask(SIG_SETMASK, nullptr, &mask), 0);
  return mask;
}

// The signals that the thread `id` of this process blocks, as bits.
std::string blocked_by(pid_t id) {
  std::ifstream status("/proc/self/task/" + std::to_string(id) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("SigBlk:")) return line.substr(line.find_first_not_of("\t ", 7));
  }
  return {};
}

TEST(OffloadTest, SignalsAreNotForThePoolsThreadsThatWait) {
  const sigset_t before = mask_of_thread();
  auto pool = pool_of(1);
  const sigset_t after = mask_of_thread();
  EXPECT_EQ(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
  auto runtime = Runtime::create().value();
  run(runtime, [&] {
    const pid_t thread = pool.run([] { return ::gettid(); }, Deadline::never()).value();
    // The result comes back before the thread waits again, but not before it has blocked them.
    const std::string blocked = blocked_by(thread);
    EXPECT_EQ(std::stoull(blocked, nullptr, 16) >> (SIGTERM - 1) & 1U, 1U) << blocked;
  });
}

// Processes that it starts inherit it.
TEST(OffloadTest, FunctionRunsWithTheSignalMaskOfItsCaller) {
  auto pool = pool_of(1);
  const sigset_t before = mask_of_thread();
  sigset_t mine = before;
  sigaddset(&mine, SIGUSR2);
  sigdelset(&mine, SIGTERM);
  auto runtime = Runtime::create().value();
  for (const sigset_t& mask : {mine, before}) {
    ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &mask, nullptr), 0);
    run(runtime, [&] {
      const sigset_t there = pool.run(mask_of_thread, Deadline::never()).value();
      for (const int signal : {SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD}) {
        EXPECT_EQ(sigismember(&there, signal), sigismember(&mask, signal)) << signal;
      }
    });
  }
}

// The usual case for it: a call that knows no deadline.
TEST(OffloadTest, ThePoolsThreadsGiveWayIfAskedTo) {
  const auto nice_here = [] { return ::getpriority(PRIO_PROCESS, 0); };
  const int before = nice_here();
  auto pool = OffloadPool::create({.threads = 1, .nice = 3}).value();
  auto runtime = Runtime::create().value();
  run(runtime,
      [&] { EXPECT_EQ(std::min(before + 3, 19), pool.run(nice_here, Deadline::never()).value()); });
  EXPECT_EQ(before, nice_here());
}

TEST(OffloadTest, GetaddrinfoRunsOffTheLoop) {
  auto pool = pool_of(1);
  auto runtime = Runtime::create().value();
  run(runtime, [&] {
    const Result<std::string> text = pool.run_abandonable(
        [name = std::string("127.0.0.1")]() -> Result<std::string> {
          addrinfo hints{};
          hints.ai_flags = AI_NUMERICHOST;
          addrinfo* found = nullptr;
          if (::getaddrinfo(name.c_str(), nullptr, &hints, &found) != 0) {
            return Error{.code = Errc::kUnreachable, .operation = "getaddrinfo"};
          }
          std::string host(NI_MAXHOST, '\0');
          ::getnameinfo(found->ai_addr, found->ai_addrlen, host.data(), NI_MAXHOST, nullptr, 0,
                        NI_NUMERICHOST);
          ::freeaddrinfo(found);
          host.resize(host.find('\0'));
          return host;
        },
        Deadline::never());
    EXPECT_EQ(*text, "127.0.0.1");
  });
}

// Several runtimes, one pool, and fibers that are cancelled at any moment: each call ends as it
// says, and what was neither withdrawn nor refused has run exactly once.
TEST(OffloadTest, RuntimesShareAPoolWhileFibersAreCancelled) {
  constexpr int kRuntimes = 3;
  constexpr int kCalls = 300;
  auto pool = pool_of(3, /*queue_max=*/64);
  std::atomic<std::uint64_t> ran = 0;
  std::atomic<std::uint64_t> withdrawn = 0;
  std::atomic<std::uint64_t> refused = 0;
  const auto call = [&](int number) {
    const auto result = number % 2 == 0 ? pool.run([&] { ++ran; }, Deadline::never())
                                        : pool.run_abandonable([&] { ++ran; }, Deadline::never());
    if (!result && result.error().code == Errc::kExhausted) ++refused;
    if (!result && result.error().code == Errc::kCancelled) ++withdrawn;
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kRuntimes; ++thread) {
    threads.emplace_back([&] {
      auto runtime = Runtime::create().value();
      run(runtime, [&] {
        scope([&](Scope& fibers) {
          for (int i = 0; i < kCalls; ++i) {
            auto task = fibers.spawn("call", [&call, i] { call(i); });
            ASSERT_TRUE(task);
            for (int turn = i % 4; turn > 0; --turn) this_fiber::yield().value();
            if (i % 3 == 0) task->cancel();
          }
        });
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Abandoned functions may still be running.
  auto runtime = Runtime::create().value();
  run(runtime, [&] {
    while (pool.stats().running > 0) this_fiber::yield().value();
  });
  const OffloadStats stats = pool.stats();
  EXPECT_EQ(stats.done, ran);
  EXPECT_EQ(stats.refused, refused);
  EXPECT_GE(withdrawn, stats.withdrawn + stats.abandoned);
  EXPECT_EQ(
      stats.done + stats.withdrawn + refused + (withdrawn - stats.withdrawn - stats.abandoned),
      std::uint64_t{kRuntimes} * kCalls);
}

}  // namespace
}  // namespace heddle
