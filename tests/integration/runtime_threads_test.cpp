// Runtimes and threads: what may cross, and that nothing else is shared.
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/fiber_local.h"
#include "heddle/listener.h"
#include "heddle/offload.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/sync.h"
#include "heddle/tls/stream.h"

#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::seconds;

// Long enough that only a bug reaches it.
constexpr Duration kPatience = seconds(60);

void hang() {
  EXPECT_EQ(this_fiber::sleep_until(Deadline::never()).error().code, Errc::kCancelled);
}

std::vector<std::thread> threads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> all;
  for (int i = 0; i < count; ++i) all.emplace_back(body, i);
  return all;
}

void join(std::vector<std::thread>& all) {
  for (std::thread& each : all) each.join();
}

TEST(RuntimeThreadsTest, WorkPostedFromManyThreadsIsDoneOnceOnTheRuntimesThread) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 2000;
  auto runtime = Runtime::create().value();
  const auto home = std::this_thread::get_id();
  std::vector<std::vector<int>> seen(kThreads);  // Touched on the runtime's thread only.
  WaitGroup done;
  done.add(kThreads * kPosts);
  ASSERT_TRUE(runtime.spawn("waiter", [&] { EXPECT_TRUE(done.wait()); }));
  auto posters = threads(kThreads, [&](int thread) {
    for (int i = 0; i < kPosts; ++i) {
      runtime.post([&, thread, i] {
        EXPECT_EQ(std::this_thread::get_id(), home);
        seen[static_cast<std::size_t>(thread)].push_back(i);
        done.done();
      });
    }
  });
  runtime.run();
  join(posters);
  for (const auto& one : seen) {
    ASSERT_EQ(one.size(), static_cast<std::size_t>(kPosts));
    for (int i = 0; i < kPosts; ++i) EXPECT_EQ(one[static_cast<std::size_t>(i)], i);
  }
}

TEST(RuntimeThreadsTest, PostedWorkMaySpawnAndPostAndWake) {
  auto runtime = Runtime::create().value();
  Semaphore told(0);
  bool spawned = false;
  ASSERT_TRUE(runtime.spawn("waiter", [&] { EXPECT_TRUE(told.acquire()); }));
  std::thread([&] {
    runtime.post([&] {
      ASSERT_TRUE(runtime.spawn("from outside", [&] {
        spawned = true;
        runtime.post([&] { told.release(); });
      }));
    });
  }).join();
  runtime.run();
  EXPECT_TRUE(spawned);
}

TEST(RuntimeThreadsTest, WorkThatComesBetweenRunsIsDoneByTheNext) {
  auto runtime = Runtime::create().value();
  runtime.run();  // No fiber: returns.
  int done = 0;
  std::thread([&] {
    for (int i = 0; i < 3; ++i) runtime.post([&done] { ++done; });
  }).join();
  EXPECT_EQ(done, 0);
  runtime.run();
  EXPECT_EQ(done, 3);
}

TEST(RuntimeThreadsTest, WorkMayBeMoveOnlyAndEndsOnTheRuntimesThread) {
  auto runtime = Runtime::create().value();
  std::vector<std::thread::id> ended;
  const auto note = [&ended](const int* value) {
    ended.push_back(std::this_thread::get_id());
    delete value;
  };
  int sum = 0;
  std::thread([&] {
    for (int i = 1; i <= 3; ++i) {
      runtime.post([&sum, value = std::unique_ptr<int, decltype(note)>(new int(i), note)] {
        sum += *value;
      });
    }
  }).join();
  EXPECT_TRUE(ended.empty());
  runtime.run();
  EXPECT_EQ(sum, 6);
  EXPECT_EQ(ended, std::vector(3, std::this_thread::get_id()));
}

TEST(RuntimeThreadsTest, WorkBehindOneThatThrowsIsDoneByTheNextRun) {
  auto runtime = Runtime::create().value();
  std::vector<int> done;
  Result<void> slept;
  ASSERT_TRUE(
      runtime.spawn("sleeper", [&] { slept = this_fiber::sleep_until(Deadline::never()); }));
  for (const int number : {1, 2, 3}) {
    runtime.post([&done, number] {
      done.push_back(number);
      throw std::runtime_error(std::to_string(number));
    });
  }
  runtime.post([&] { done.push_back(4); });
  runtime.stop();
  for (const char* const what : {"1", "2", "3"}) {
    try {
      runtime.run();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& thrown) {
      EXPECT_STREQ(thrown.what(), what);
    }
    runtime.post([&] { done.push_back(5); });
  }
  runtime.run();
  EXPECT_EQ(done, (std::vector<int>{1, 2, 3, 4, 5, 5, 5}));
  EXPECT_FALSE(slept);
}

// What wakes it is posted, too.
TEST(RuntimeThreadsTest, FiberOnAPoolComesBackThoughPostedWorkThrows) {
  auto runtime = Runtime::create().value();
  auto pool = OffloadPool::create({.threads = 1}).value();
  int result = 0;
  ASSERT_TRUE(runtime.spawn("caller", [&] {
    const auto work = [&] {
      for (int i = 0; i < 3; ++i) runtime.post([] { throw std::runtime_error("posted"); });
      return 7;
    };
    result = pool.run(work, Deadline::never()).value();
  }));
  int thrown = 0;
  for (bool over = false; !over;) {
    try {
      runtime.run();
      over = true;
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  EXPECT_EQ(thrown, 3);
  EXPECT_EQ(result, 7);
}

TEST(RuntimeThreadsTest, OtherThreadsFillAChannelByPostedWork) {
  constexpr int kValues = 100;
  auto runtime = Runtime::create().value();
  Channel<int> channel(2);
  std::vector<int> got;
  ASSERT_TRUE(runtime.spawn("consumer", [&] {
    while (const auto value = channel.pop().value()) got.push_back(*value);
  }));
  int given = 0;
  // Comes again while the channel is full.
  std::function<void()> give = [&] {
    while (given < kValues && channel.try_push(given)) ++given;
    if (given < kValues) return runtime.post(give);
    channel.close();
  };
  std::thread([&] { runtime.post(give); }).join();
  runtime.run();
  ASSERT_EQ(got.size(), static_cast<std::size_t>(kValues));
  for (int i = 0; i < kValues; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i);
}

// What `body` says before it ends as a forked process, by `signal`; 0: as it likes.
std::string say_in_child(const std::function<void()>& body, int signal) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    (void)::dup2(ends[1], STDERR_FILENO);
    body();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  std::array<char, 256> buffer;
  for (ssize_t got = 0; (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    said.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WIFSIGNALED(status) ? WTERMSIG(status) : 0, signal);
  return said;
}

TEST(RuntimeThreadsTest, UseInAForkedProcessEndsThatProcessAndSaysWhy) {
  auto runtime = Runtime::create().value();
  const Address any_port = Address::parse("127.0.0.1:0").value();
  const auto uses = {
      std::function<void()>([&] { runtime.run(); }),
      std::function<void()>([&] { runtime.stop(); }),
      std::function<void()>([&] { (void)Listener::create(runtime, any_port); }),
  };
  for (const auto& use : uses) {
    EXPECT_NE(say_in_child(use, SIGABRT).find("a runtime is used after fork()"), std::string::npos);
  }
  ASSERT_TRUE(runtime.spawn("forks", [&] {
    const std::string said =
        say_in_child([] { (void)this_fiber::sleep_until(Deadline::never()); }, SIGABRT);
    EXPECT_NE(said.find("a runtime is used after fork()"), std::string::npos) << said;
  }));
  runtime.run();
}

TEST(RuntimeThreadsTest, ForkedProcessMayDestroyWhatItHasInheritedAndMakeItsOwn) {
  auto runtime = Runtime::create().value();
  auto listener = Listener::create(runtime, Address::parse("127.0.0.1:0").value()).value();
  const Address address = listener.address();
  const std::string said = say_in_child(
      [&] {
        { const Listener destroyed = std::move(listener); }
        { const Runtime destroyed = std::move(runtime); }
        auto own = Runtime::create().value();
        (void)own.spawn("fiber", [&] {
          auto client = connect(own, address, own.after(kPatience));
          if (!client) (void)!::write(STDERR_FILENO, "unreachable", 11);
        });
        own.run();
      },
      0);
  EXPECT_EQ(said, "");
  // And the parent hears of it.
  ASSERT_TRUE(
      runtime.spawn("server", [&] { EXPECT_TRUE(listener.accept(runtime.after(kPatience))); }));
  runtime.run();
}

TEST(RuntimeThreadsTest, DeadlineIsMeasuredFromNowHoweverLongTheFiberHasRun) {
  auto runtime = Runtime::create().value();
  ASSERT_TRUE(runtime.spawn("fiber", [&] {
    const TimePoint before = std::chrono::steady_clock::now();
    EXPECT_GE(this_fiber::after(seconds(1)).time(), before + seconds(1));
    EXPECT_GE(runtime.after(seconds(1)).time(), before + seconds(1));
    EXPECT_GE(runtime.now(), before);
  }));
  runtime.run();
}

TEST(RuntimeThreadsTest, StopFromAnotherThreadCancelsPresentAndFutureFibers) {
  auto runtime = Runtime::create().value();
  std::atomic<int> parked = 0;
  int ended = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(runtime.spawn("fiber", [&] {
      scope([&](Scope& fibers) {
        ASSERT_TRUE(fibers.spawn("child", [&] {
          ++parked;
          hang();
          ++ended;
        }));
      });
      ASSERT_TRUE(runtime.spawn("late", [&] {
        EXPECT_TRUE(this_fiber::cancelled());
        ++ended;
      }));
    }));
  }
  std::thread stopper([&] {
    while (parked < 10) std::this_thread::yield();
    runtime.stop();
    runtime.stop();
  });
  runtime.run();
  stopper.join();
  EXPECT_EQ(ended, 20);
  EXPECT_EQ(runtime.stats().fibers, 0U);
}

TEST(RuntimeThreadsTest, StopBeforeRunCancelsAsWell) {
  auto runtime = Runtime::create().value();
  runtime.stop();
  ASSERT_TRUE(runtime.spawn("fiber", hang));
  runtime.run();
}

TEST(RuntimeThreadsTest, RuntimesOnSeveralThreadsShareNothing) {
  static const FiberLocal<int> local;
  auto all = threads(4, [](int thread) {
    auto runtime = Runtime::create().value();
    for (int fiber = 0; fiber < 20; ++fiber) {
      ASSERT_TRUE(runtime.spawn("fiber", [thread, fiber] {
        const int mine = 100 * thread + fiber + 1;
        *local = mine;
        for (int round = 0; round < 50; ++round) {
          ERR_raise(ERR_LIB_USER, mine);
          try {
            throw std::runtime_error(std::to_string(mine));
          } catch (const std::runtime_error& thrown) {
            EXPECT_TRUE(this_fiber::yield());
            EXPECT_EQ(thrown.what(), std::to_string(mine));
          }
          EXPECT_EQ(*local, mine);
          EXPECT_EQ(ERR_GET_REASON(ERR_get_error()), mine);
          EXPECT_EQ(ERR_peek_error(), 0U);
        }
      }));
    }
    runtime.run();
  });
  join(all);
}

TEST(RuntimeThreadsTest, RuntimeMayBeMadeAndDestroyedOnAThreadAgainAndAgain) {
  auto all = threads(2, [](int) {
    for (int i = 0; i < 20; ++i) {
      auto runtime = Runtime::create().value();
      ASSERT_TRUE(runtime.spawn("fiber", [] { EXPECT_TRUE(this_fiber::yield()); }));
      runtime.run();
    }
  });
  join(all);
}

// A TLS server on `runtime`; `told` is told its address.
void echo(Runtime& runtime, const Context& context, Address& told, WaitGroup& listening) {
  auto listener = Listener::create(runtime, Address::parse("127.0.0.1:0").value()).value();
  told = listener.address();
  listening.done();
  scope([&](Scope& fibers) {
    for (;;) {
      auto socket = listener.accept(Deadline::never());
      if (!socket) return;
      auto shared = std::make_shared<Socket>(*std::move(socket));
      ASSERT_TRUE(fibers.spawn("echo", [&runtime, &context, shared] {
        auto stream = Stream::create(context, std::move(*shared)).value();
        std::array<std::byte, 4096> buffer;
        for (;;) {
          const auto got = stream.read(buffer, runtime.after(kPatience));
          if (!got || *got == 0) break;
          const auto wrote = stream.write(std::span<const std::byte>(buffer).first(*got),
                                          runtime.after(kPatience));
          EXPECT_TRUE(wrote) << wrote.error().message();
        }
        (void)stream.close(runtime.after(kPatience));
      }));
    }
  });
}

void talk(Runtime& runtime, const Context& context, const Address& address, int number) {
  const Deadline deadline = runtime.after(kPatience);
  auto socket = connect(runtime, address, deadline);
  ASSERT_TRUE(socket) << socket.error().message();
  auto stream =
      Stream::create(context, *std::move(socket), {.server_name = test::kServerName}).value();
  for (int round = 0; round < 5; ++round) {
    const std::string text = "number " + std::to_string(number) + " round " + std::to_string(round);
    const auto wrote = stream.write(test::bytes(text), deadline);
    ASSERT_TRUE(wrote) << wrote.error().message();
    EXPECT_EQ(test::read_text(stream, text.size(), deadline), text);
  }
  const auto closed = stream.close(deadline);
  EXPECT_TRUE(closed) << closed.error().message();
}

TEST(RuntimeThreadsTest, StreamsOnSeveralThreadsMayShareContexts) {
  const Context server = test::server_context();
  const Context client = test::client_context();
  auto all = threads(3, [&](int thread) {
    auto runtime = Runtime::create().value();
    Address address = Address::parse("127.0.0.1:0").value();
    WaitGroup listening;
    listening.add();
    ASSERT_TRUE(runtime.spawn("main", [&] {
      scope([&](Scope& servers) {
        ASSERT_TRUE(servers.spawn("server", [&] { echo(runtime, server, address, listening); }));
        ASSERT_TRUE(listening.wait());
        scope([&](Scope& clients) {
          for (int i = 0; i < 8; ++i) {
            ASSERT_TRUE(clients.spawn(
                "client", [&, i] { talk(runtime, client, address, 100 * thread + i); }));
          }
        });
        servers.cancel();
      });
    }));
    runtime.run();
  });
  join(all);
}

TEST(RuntimeThreadsTest, ConnectionsMayCrossFromOneRuntimeToAnother) {
  const Context server = test::server_context();
  const Context client = test::client_context();
  auto serving = Runtime::create().value();
  Address address = Address::parse("127.0.0.1:0").value();
  WaitGroup listening;
  listening.add();
  std::atomic<bool> ready = false;
  ASSERT_TRUE(serving.spawn("server", [&] { echo(serving, server, address, listening); }));
  ASSERT_TRUE(serving.spawn("announcer", [&] {
    EXPECT_TRUE(listening.wait());
    ready = true;
  }));
  std::thread other([&] {
    while (!ready) std::this_thread::yield();
    auto runtime = Runtime::create().value();
    for (int i = 0; i < 8; ++i) {
      ASSERT_TRUE(runtime.spawn("client", [&, i] { talk(runtime, client, address, i); }));
    }
    runtime.run();
    serving.stop();
  });
  serving.run();
  other.join();
}

TEST(RuntimeThreadsTest, SignalThatInterruptsTheWaitDoesNoHarm) {
  struct sigaction before {};
  struct sigaction ignore {};
  ignore.sa_handler = [](int) {};
  ASSERT_EQ(::sigaction(SIGUSR2, &ignore, &before), 0);
  auto runtime = Runtime::create().value();
  Semaphore told(0);
  ASSERT_TRUE(runtime.spawn("waiter", [&] { EXPECT_TRUE(told.acquire()); }));
  const pthread_t home = ::pthread_self();
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) {
      EXPECT_EQ(::pthread_kill(home, SIGUSR2), 0);
      std::this_thread::yield();
    }
    runtime.post([&] { told.release(); });
  });
  runtime.run();
  other.join();
  ASSERT_EQ(::sigaction(SIGUSR2, &before, nullptr), 0);
}

TEST(RuntimeThreadsTest, PostedWorkIsNotAnnouncedAgainAndAgain) {
  auto runtime = Runtime::create().value();
  ASSERT_TRUE(runtime.spawn("sleeper", [&] {
    runtime.post([] {});
    EXPECT_TRUE(this_fiber::yield());
    const std::uint64_t polls = runtime.stats().polls;
    EXPECT_TRUE(this_fiber::sleep_until(this_fiber::after(std::chrono::milliseconds(20))));
    EXPECT_LE(runtime.stats().polls - polls, 5U);
  }));
  runtime.run();
}

TEST(RuntimeThreadsTest, TimeIsAskedForBetweenRuns) {
  auto runtime = Runtime::create().value();
  const TimePoint before = runtime.now();
  while (runtime.now() == before) std::this_thread::yield();
  EXPECT_GT(runtime.after(seconds(1)), Deadline::at(before + seconds(1)));
}

}  // namespace
}  // namespace heddle
