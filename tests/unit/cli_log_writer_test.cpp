// LogWriter: nothing waits for the reader of a log, and what is lost is counted.
#include <array>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "cli/log_writer.h"

namespace heddle::cli {
namespace {

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    read = UniqueFd(ends[0]);
    write = UniqueFd(ends[1]);
  }

  std::string all() {
    write = UniqueFd();
    std::string text;
    std::array<char, 4096> some{};
    for (ssize_t got = 0; (got = ::read(read.get(), some.data(), some.size())) > 0;) {
      text.append(some.data(), static_cast<std::size_t>(got));
    }
    return text;
  }

  UniqueFd read;
  UniqueFd write;
};

std::ptrdiff_t thread_count() {
  const std::filesystem::directory_iterator threads("/proc/self/task");
  return std::distance(begin(threads), end(threads));
}

// A process of one thread pays less for each system call.
TEST(LogWriter, StartsNoThreadBeforeTheFirstLine) {
  Pipe pipe;
  const std::ptrdiff_t before = thread_count();
  LogWriter log(pipe.write.get());
  EXPECT_EQ(thread_count(), before);
  log.add("now\n");
  EXPECT_GT(thread_count(), before);  // By one, but sanitizers start threads of their own.
}

// NoMoreThreads is a time in which no thread can be had: none has a stack as large as that.
class NoMoreThreads {
 public:
  NoMoreThreads() {
    EXPECT_EQ(::pthread_getattr_default_np(&before_), 0);
    pthread_attr_t impossible;
    EXPECT_EQ(::pthread_attr_init(&impossible), 0);
    EXPECT_EQ(::pthread_attr_setstacksize(&impossible, std::size_t{1} << 47), 0);
    EXPECT_EQ(::pthread_setattr_default_np(&impossible), 0);
    ::pthread_attr_destroy(&impossible);
    EXPECT_THROW(std::thread([] {}).join(), std::system_error);
  }
  NoMoreThreads(const NoMoreThreads&) = delete;
  NoMoreThreads& operator=(const NoMoreThreads&) = delete;
  ~NoMoreThreads() {
    EXPECT_EQ(::pthread_setattr_default_np(&before_), 0);
    ::pthread_attr_destroy(&before_);
  }

 private:
  pthread_attr_t before_{};
};

TEST(LogWriter, LinesWaitForAThreadIfNoneCanBeHad) {
  Pipe pipe;
  LogWriter log(pipe.write.get());
  {
    const NoMoreThreads none;
    log.add("first\n");
  }
  log.add("second\n");
  std::string text;
  std::array<char, 100> some{};
  while (!text.ends_with("second\n")) {
    const ssize_t got = ::read(pipe.read.get(), some.data(), some.size());
    ASSERT_GT(got, 0);
    text.append(some.data(), static_cast<std::size_t>(got));
  }
  EXPECT_EQ(text, "first\nsecond\n");
}

TEST(LogWriter, LinesWithoutAThreadAreWrittenAtTheEnd) {
  Pipe pipe;
  {
    const NoMoreThreads none;
    LogWriter log(pipe.write.get());
    log.add("first\n");
    log.add("second\n");
  }
  EXPECT_EQ(pipe.all(), "first\nsecond\n");
}

TEST(LogWriter, WritesLinesInOrder) {
  Pipe pipe;
  std::string expected;
  {
    LogWriter log(pipe.write.get());
    for (int i = 0; i < 100; ++i) {
      const std::string line = std::to_string(i) + "\n";
      log.add(line);
      expected += line;
    }
  }
  EXPECT_EQ(pipe.all(), expected);
}

// Also that destruction does not wait for such a reader.
TEST(LogWriter, ReaderThatStopsCostsLinesOnly) {
  Pipe pipe;
  const std::string line = std::string(999, 'x') + "\n";
  LogWriter log(pipe.write.get());
  for (std::size_t i = 0; i < 3 * LogWriter::kQueuedBytesMax / line.size(); ++i) log.add(line);
}

TEST(LogWriter, SaysHowMuchIsLost) {
  Pipe pipe;
  const int small = ::fcntl(pipe.write.get(), F_SETPIPE_SZ, 4096);
  ASSERT_GT(small, 0);
  const std::string line = std::string(999, 'x') + "\n";
  std::string text;
  {
    LogWriter log(pipe.write.get());
    for (std::size_t i = 0; i < 3 * LogWriter::kQueuedBytesMax / line.size(); ++i) log.add(line);
    std::array<char, 65536> some{};
    while (text.find("lines were lost") == std::string::npos) {
      const ssize_t got = ::read(pipe.read.get(), some.data(), some.size());
      ASSERT_GT(got, 0);
      text.append(some.data(), static_cast<std::size_t>(got));
    }
  }
  EXPECT_LT(text.size(), 2 * LogWriter::kQueuedBytesMax + 10'000);
}

TEST(LogWriter, ReaderThatIsGoneIsNoHarm) {
  Pipe pipe;
  pipe.read = UniqueFd();
  LogWriter log(pipe.write.get());
  log.add("nobody reads this\n");
}

}  // namespace
}  // namespace heddle::cli

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  (void)std::signal(SIGPIPE, SIG_IGN);  // As in the program.
  return RUN_ALL_TESTS();
}
