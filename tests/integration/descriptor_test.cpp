// Waiting for descriptors that belong to other code, which closes them and uses their numbers
// again.
#include "heddle/descriptor.h"

#include <linux/netlink.h>
#include <sys/inotify.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"

#include "base/unique_fd.h"
#include "support/settle.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;

constexpr auto kNever = Deadline::never();

struct Pair {
  UniqueFd ours;
  UniqueFd theirs;

  static Pair make() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    return {.ours = UniqueFd(ends[0]), .theirs = UniqueFd(ends[1])};
  }
  void send() const { EXPECT_EQ(::write(theirs.get(), "x", 1), 1); }
  void take() const {
    char byte = 0;
    EXPECT_EQ(::read(ours.get(), &byte, 1), 1);
  }
  // Leaves no room in what `ours` sends.
  void fill() const {
    const std::vector<char> many(4096);
    while (::send(ours.get(), many.data(), many.size(), MSG_DONTWAIT) > 0) {
    }
  }
  void drain() const {
    std::vector<char> many(4096);
    while (::recv(theirs.get(), many.data(), many.size(), MSG_DONTWAIT) > 0) {
    }
  }
};

// How many descriptors the process's epoll instances watch, as the kernel tells.
int watched() {
  int count = 0;
  for (const auto& each : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
    std::ifstream information(each.path());
    for (std::string line; std::getline(information, line);) {
      if (line.starts_with("tfd:")) ++count;
    }
  }
  return count;
}

int lowest_free() {
  return UniqueFd(::dup(STDERR_FILENO)).get();
}

class DescriptorTest : public testing::Test {
 protected:
  // Runs `body` in a fiber.
  void run(std::function<void(Scope&)> body) {
    ASSERT_TRUE(runtime_.spawn("test", [&] { scope(body); }));
    runtime_.run();
  }

  static auto wait(Scope& fibers, int descriptor, Interest interest) {
    return fibers.spawn("wait", [=] { return wait_descriptor(descriptor, interest, kNever); })
        .value();
  }

  Runtime runtime_ = Runtime::create().value();
};

TEST_F(DescriptorTest, SaysWhatIsWorthTrying) {
  run([](Scope& fibers) {
    const Pair pair = Pair::make();
    const int fd = pair.ours.get();
    EXPECT_EQ(wait_descriptor(fd, Interest::kWrite, kNever).value(), Interest::kWrite);
    EXPECT_EQ(wait_descriptor(fd, Interest::kReadOrWrite, kNever).value(), Interest::kWrite);
    pair.send();
    EXPECT_EQ(wait_descriptor(fd, Interest::kRead, kNever).value(), Interest::kRead);
    EXPECT_EQ(wait_descriptor(fd, Interest::kReadOrWrite, kNever).value(), Interest::kReadOrWrite);
    pair.take();
    pair.fill();
    for (const Interest interest : {Interest::kRead, Interest::kReadOrWrite}) {
      auto reader = wait(fibers, fd, interest);
      test::settle_runtime();
      EXPECT_FALSE(reader.finished());
      pair.send();
      EXPECT_EQ(reader.join().value(), Interest::kRead);
      pair.take();
    }
    auto writer = wait(fibers, fd, Interest::kReadOrWrite);
    test::settle_runtime();
    EXPECT_FALSE(writer.finished());
    pair.drain();
    EXPECT_EQ(writer.join().value(), Interest::kWrite);
  });
}

TEST_F(DescriptorTest, EndOfThePeerIsReadableAlreadyOrWhenItComes) {
  run([](Scope& fibers) {
    Pair pair = Pair::make();
    auto reader = wait(fibers, pair.ours.get(), Interest::kRead);
    test::settle_runtime();
    pair.theirs.reset();
    EXPECT_EQ(reader.join().value(), Interest::kRead);
    EXPECT_EQ(wait_descriptor(pair.ours.get(), Interest::kReadOrWrite, kNever).value(),
              Interest::kReadOrWrite);
  });
}

TEST_F(DescriptorTest, RegularFileIsReadyAtOnce) {
  run([](Scope& /*fibers*/) {
    const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    const Deadline passed = Deadline::at(TimePoint::min());
    EXPECT_EQ(wait_descriptor(file.get(), Interest::kRead, passed).value(), Interest::kRead);
    const UniqueFd folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_TRUE(wait_descriptor(folder.get(), Interest::kRead, passed));
  });
}

TEST_F(DescriptorTest, DescriptorThatIsNotOpenIsInvalid) {
  run([](Scope& /*fibers*/) {
    for (const int wrong : {-1, lowest_free()}) {
      const auto refused = wait_descriptor(wrong, Interest::kRead, kNever);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, Errc::kInvalid);
      EXPECT_EQ(refused.error().sys_errno, EBADF);
    }
  });
}

TEST_F(DescriptorTest, EveryFiberThatWaitsForADescriptorIsWoken) {
  run([](Scope& fibers) {
    const Pair pair = Pair::make();
    pair.fill();
    auto one = wait(fibers, pair.ours.get(), Interest::kRead);
    auto two = wait(fibers, pair.ours.get(), Interest::kRead);
    auto writer = wait(fibers, pair.ours.get(), Interest::kWrite);
    test::settle_runtime();
    pair.send();
    EXPECT_TRUE(one.join());
    EXPECT_TRUE(two.join());
    EXPECT_FALSE(writer.finished());
    pair.drain();
    EXPECT_TRUE(writer.join());
  });
}

// What was registered for the first must not be taken for the second's, nor removed with it.
TEST_F(DescriptorTest, NumberMayBelongToAnotherAtTheNextCall) {
  run([](Scope& fibers) {
    Pair first = Pair::make();
    const int number = first.ours.get();
    const UniqueFd alive(::dup(number));  // So that the kernel keeps what is registered.
    EXPECT_FALSE(wait_descriptor(number, Interest::kRead, this_fiber::after(milliseconds(1))));
    Pair second = Pair::make();
    ASSERT_EQ(::dup2(second.ours.get(), number), number);
    auto reader = wait(fibers, number, Interest::kRead);
    test::settle_runtime();
    first.send();
    test::settle_runtime();
    EXPECT_FALSE(reader.finished());
    second.send();
    EXPECT_TRUE(reader.join());
  });
}

TEST_F(DescriptorTest, NumberMayBelongToAnotherWhileItIsWaitedFor) {
  run([](Scope& fibers) {
    Pair first = Pair::make();
    Pair second = Pair::make();
    const int number = first.ours.get();
    auto old = wait(fibers, number, Interest::kRead);
    test::settle_runtime();
    ASSERT_EQ(::dup2(second.ours.get(), number), number);
    auto reader = wait(fibers, number, Interest::kRead);
    test::settle_runtime();
    first.send();
    EXPECT_TRUE(old.join()) << "it still waits for what it was called for";
    test::settle_runtime();
    EXPECT_FALSE(reader.finished());
    second.send();
    EXPECT_TRUE(reader.join()) << "the end of the first wait has not taken it out";
  });
}

TEST_F(DescriptorTest, NothingStaysWhenItHasWokenTimedOutOrBeenCancelled) {
  run([](Scope& fibers) {
    const Pair pair = Pair::make();
    const int watched_before = watched();
    const int lowest_before = lowest_free();
    EXPECT_EQ(wait_descriptor(pair.ours.get(), Interest::kRead, this_fiber::after(milliseconds(1)))
                  .error()
                  .code,
              Errc::kTimedOut);
    auto cancelled = wait(fibers, pair.ours.get(), Interest::kRead);
    auto woken = wait(fibers, pair.ours.get(), Interest::kRead);
    test::settle_runtime();
    EXPECT_EQ(watched(), watched_before + 2);
    cancelled.cancel();
    EXPECT_EQ(cancelled.join().error().code, Errc::kCancelled);
    pair.send();
    EXPECT_TRUE(woken.join());
    EXPECT_EQ(watched(), watched_before);
    EXPECT_EQ(lowest_free(), lowest_before);
  });
}

TEST_F(DescriptorTest, InotifyTellsAFiber) {
  run([](Scope& fibers) {
    std::string folder = testing::TempDir() + "heddle-inotify-XXXXXX";
    ASSERT_NE(::mkdtemp(folder.data()), nullptr);
    const UniqueFd inotify(::inotify_init1(IN_CLOEXEC));
    ASSERT_GE(::inotify_add_watch(inotify.get(), folder.c_str(), IN_CREATE), 0);
    auto watcher = wait(fibers, inotify.get(), Interest::kRead);
    test::settle_runtime();
    EXPECT_FALSE(watcher.finished());
    std::ofstream(folder + "/new") << "x";
    EXPECT_TRUE(watcher.join());
    std::filesystem::remove_all(folder);
  });
}

TEST_F(DescriptorTest, FiberAndPostedWorkKnowTheirRuntime) {
  run([this](Scope& /*fibers*/) { EXPECT_EQ(&this_fiber::runtime(), &runtime_); });
  auto other = Runtime::create().value();
  other.post([&] { EXPECT_EQ(&this_fiber::runtime(), &other); });
  other.run();
  EXPECT_DEATH((void)this_fiber::runtime(), "on a thread on which no runtime runs");
  EXPECT_DEATH((void)wait_descriptor(0, Interest::kRead, kNever),
               "on a thread on which no runtime runs");
}

// getpeername(2) answers for sockets of families that no Address has.
TEST_F(DescriptorTest, DumpShowsWhatKindsOfDescriptorAreWaitedFor) {
  const UniqueFd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  ASSERT_TRUE(netlink);
  run([&](Scope& fibers) {
    Pair pair = Pair::make();
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    const UniqueFd reader(pipe[0]);
    const UniqueFd writer(pipe[1]);
    for (const int fd : {netlink.get(), pair.ours.get(), reader.get()}) {
      fibers.spawn("waiter", [fd] { (void)wait_descriptor(fd, Interest::kRead, kNever); }).value();
    }
    test::settle_runtime();
    int waiters = 0;
    for (const FiberInfo& fiber : runtime_.fibers()) {
      if (fiber.name != "waiter") continue;
      ++waiters;
      EXPECT_TRUE(fiber.purpose.starts_with("to read from descriptor ")) << fiber.purpose;
      EXPECT_TRUE(fiber.descriptor);
    }
    EXPECT_EQ(waiters, 3);
    fibers.cancel();
  });
}

TEST_F(DescriptorTest, SourceReadsWhatIsThereAndThenTheEnd) {
  run([](Scope& fibers) {
    Pair pair = Pair::make();
    DescriptorSource source(pair.ours.get());
    std::array<std::byte, 8> buffer{};
    EXPECT_EQ(source.read({}, kNever).value(), 0U);
    fibers.spawn("sender", [&pair] { pair.send(); }).value();
    EXPECT_EQ(source.read(buffer, kNever).value(), 1U);  // Parks a descriptor that blocks.
    EXPECT_EQ(buffer[0], std::byte{'x'});
    EXPECT_EQ(source.read(buffer, this_fiber::after(milliseconds(1))).error().code,
              Errc::kTimedOut);
    pair.theirs.reset();
    EXPECT_EQ(source.read(buffer, kNever).value(), 0U);
    EXPECT_EQ(source.read(buffer, kNever).value(), 0U);
  });
}

TEST_F(DescriptorTest, SourceThatCannotBeReadIsInvalid) {
  run([](Scope&) {
    std::array<std::byte, 8> buffer{};
    const UniqueFd folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_EQ(DescriptorSource(folder.get()).read(buffer, kNever).error().code, Errc::kInvalid);
    EXPECT_EQ(DescriptorSource(folder.get()).read(buffer, kNever).error().sys_errno, EISDIR);
    const Result<std::size_t> none = DescriptorSource(-1).read(buffer, kNever);
    EXPECT_EQ(none.error().code, Errc::kInvalid);
  });
}

TEST_F(DescriptorTest, SourceSaysWhenItsPeerWentAwayInAnger) {
  run([](Scope&) {
    Pair pair = Pair::make();
    pair.send();  // Unread bytes of ours make the close a reset.
    EXPECT_EQ(::write(pair.ours.get(), "x", 1), 1);
    pair.theirs.reset();
    DescriptorSource source(pair.ours.get());
    std::array<std::byte, 8> buffer{};
    EXPECT_EQ(source.read(buffer, kNever).value(), 1U);
    EXPECT_EQ(source.read(buffer, kNever).error().code, Errc::kDisconnected);
  });
}

}  // namespace
}  // namespace heddle
