// LogWriter: nothing waits for the reader of a log, and what is lost is counted.
#include <array>
#include <csignal>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
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
