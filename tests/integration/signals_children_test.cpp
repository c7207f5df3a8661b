// What processes that a program starts inherit of its Signals: nothing.
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/offload.h"
#include "heddle/runtime.h"
#include "heddle/signals.h"

namespace heddle {
namespace {

constexpr Deadline kNever = Deadline::never();
constexpr std::initializer_list<int> kCaught = {SIGHUP, SIGINT, SIGTERM, SIGUSR1};

// The line of /proc/PID/status that begins with `name`, as bits.
std::uint64_t bits(const std::string& status, const std::string& name) {
  const std::size_t found = status.find(name + ":\t");
  EXPECT_NE(found, std::string::npos) << status;
  return std::stoull(status.substr(found + name.size() + 2), nullptr, 16);
}

std::string status_of_this_thread() {
  std::ostringstream text;
  text << std::ifstream("/proc/thread-self/status").rdbuf();
  return text.str();
}

std::string read_all(int descriptor) {
  std::string all;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count <= 0) break;
    all.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return all;
}

// Each runs `cat /proc/self/status` in a child, and returns what it says.

std::string by_fork() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    (void)::dup2(ends[1], 1);
    (void)::execl("/bin/cat", "cat", "/proc/self/status", nullptr);
    ::_exit(127);
  }
  (void)::close(ends[1]);
  std::string said = read_all(ends[0]);
  (void)::close(ends[0]);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  return said;
}

std::string by_posix_spawn() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  (void)::posix_spawn_file_actions_init(&actions);
  (void)::posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  std::string cat = "cat";
  std::string file = "/proc/self/status";
  std::array<char*, 3> arguments{cat.data(), file.data(), nullptr};
  pid_t child = -1;
  EXPECT_EQ(::posix_spawn(&child, "/bin/cat", &actions, nullptr, arguments.data(), environ), 0);
  (void)::posix_spawn_file_actions_destroy(&actions);
  (void)::close(ends[1]);
  std::string said = read_all(ends[0]);
  (void)::close(ends[0]);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  return said;
}

std::string by_shell() {
  FILE* const child = ::popen("exec cat /proc/self/status", "re");
  EXPECT_NE(child, nullptr);
  std::string said = read_all(::fileno(child));
  EXPECT_EQ(::pclose(child), 0);
  return said;
}

void in_fiber(const std::function<void(Runtime&)>& body) {
  auto runtime = Runtime::create().value();
  ASSERT_TRUE(runtime.spawn("test", [&] { body(runtime); }));
  runtime.run();
}

// The bits of all signals but glibc's own two: its posix_spawn() has those ignored.
constexpr std::uint64_t kUsable = ~(std::uint64_t{3} << 31);

void expect_no_trace(const std::string& child, const std::string& before) {
  EXPECT_EQ(bits(child, "SigBlk"), bits(before, "SigBlk"));
  EXPECT_EQ(bits(child, "SigIgn") & kUsable, bits(before, "SigIgn") & kUsable);
  EXPECT_EQ(bits(child, "SigCgt"), 0U);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    EXPECT_EQ(bits(child, "SigBlk") >> (signal - 1) & 1U, 0U) << signal;
    EXPECT_EQ(bits(child, "SigIgn") >> (signal - 1) & 1U, 0U) << signal;
  }
}

class SignalsChildrenTest : public testing::TestWithParam<std::string (*)()> {
 protected:
  // Under nohup(1) one of them is ignored, and exec() makes the default action of a handler.
  SignalsChildrenTest() {
    for (const int signal : kCaught) (void)std::signal(signal, SIG_DFL);
  }
};

TEST_P(SignalsChildrenTest, ChildOfAFiberHasAnEmptyMaskAndDefaultActions) {
  const std::string before = status_of_this_thread();
  in_fiber([&](Runtime& runtime) {
    const auto signals = Signals::create(runtime, kCaught).value();
    ASSERT_NE(bits(status_of_this_thread(), "SigCgt") >> (SIGTERM - 1) & 1U, 0U);
    expect_no_trace(GetParam()(), before);
  });
}

TEST_P(SignalsChildrenTest, ChildOfAnOffloadedFunctionHasThemToo) {
  const std::string before = status_of_this_thread();
  auto pool = OffloadPool::create({.threads = 1}).value();
  in_fiber([&](Runtime& runtime) {
    const auto signals = Signals::create(runtime, kCaught).value();
    expect_no_trace(pool.run(GetParam(), kNever).value(), before);
  });
}

std::string name_of_way(const testing::TestParamInfo<std::string (*)()>& info) {
  constexpr std::array kNames = {"fork", "posix_spawn", "shell"};
  return kNames.at(info.index);
}

INSTANTIATE_TEST_SUITE_P(Ways, SignalsChildrenTest,
                         testing::Values(by_fork, by_posix_spawn, by_shell), name_of_way);

// How the child ends that runs `body`.
int status_of_forked(const std::function<void()>& body,
                     const std::function<void(pid_t)>& meanwhile) {
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(99);
  }
  meanwhile(child);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

// Also before fork() has returned in it.
TEST(SignalsAcrossForkTest, ChildThatRunsOnCanBeStopped) {
  in_fiber([](Runtime& runtime) {
    auto signals = Signals::create(runtime, kCaught).value();
    const auto pause_for_ever = [] {
      (void)::alarm(10);  // Only a bug reaches it.
      for (;;) (void)::pause();
    };
    for (int i = 0; i < 20; ++i) {
      const int status =
          status_of_forked(pause_for_ever, [](pid_t child) { (void)::kill(child, SIGTERM); });
      ASSERT_TRUE(WIFSIGNALED(status));
      ASSERT_EQ(WTERMSIG(status), SIGTERM);
    }
    ASSERT_EQ(std::raise(SIGTERM), 0);  // The parent's are caught as before.
    EXPECT_EQ(signals.wait(kNever).value(), SIGTERM);
  });
}

TEST(SignalsAcrossForkTest, ChildMayMakeItsOwnAndDoesNotGetWhatWasTheParents) {
  auto runtime = Runtime::create().value();
  std::optional<Signals> signals = Signals::create(runtime, {SIGUSR1}).value();
  ASSERT_EQ(std::raise(SIGUSR1), 0);
  const auto catch_own = [&] {
    signals.reset();
    (void)::close_range(3, ~0U, 0);  // As daemons do.
    auto mine = Runtime::create().value();
    auto own = Signals::create(mine, {SIGUSR1}).value();
    bool is_right = false;
    (void)mine.spawn("child", [&] {
      const auto nothing = own.wait(mine.after(Duration::zero()));
      (void)std::raise(SIGUSR1);
      is_right = !nothing && own.wait(kNever).value() == SIGUSR1;
    });
    mine.run();
    ::_exit(is_right ? 0 : 1);
  };
  EXPECT_EQ(status_of_forked(catch_own, [](pid_t) {}), 0);
  ASSERT_TRUE(runtime.spawn("parent", [&] {
    EXPECT_EQ(signals->wait(kNever).value(), SIGUSR1);
    // The child has destroyed its copy, and not what the parent waits with.
    scope([&](Scope& fibers) {
      auto waiter = fibers.spawn("waiter", [&] { return signals->wait(kNever); });
      ASSERT_TRUE(waiter);
      ASSERT_TRUE(this_fiber::yield());
      ASSERT_EQ(std::raise(SIGUSR1), 0);
      EXPECT_EQ(waiter->join().value(), SIGUSR1);
    });
  }));
  runtime.run();
}

}  // namespace
}  // namespace heddle
