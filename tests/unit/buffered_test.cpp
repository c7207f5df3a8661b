// Lines and messages out of a stream of bytes: however the bytes are cut, whenever a deadline
// passes.
#include "heddle/buffered.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/byte_stream.h"
#include "heddle/socket.h"
#include "heddle/tls/stream.h"

#include "support/seeds.h"

namespace heddle {
namespace {

static_assert(ByteStream<Socket> && ByteStream<Stream>);
static_assert(ByteSource<BufferedReader> && ByteSink<BufferedWriter>);

constexpr auto kNever = Deadline::never();

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Gives what it is told to, one step a read: some bytes, or an error. Then the end.
class Script {
 public:
  void add(std::string bytes) { steps_.push_back({.bytes = std::move(bytes)}); }
  void add(Errc failure) { steps_.push_back({.failure = failure}); }

  Result<std::size_t> read(std::span<std::byte> into, Deadline /*deadline*/) {
    ++reads;
    if (steps_.empty()) return std::size_t{0};
    Step& step = steps_.front();
    if (step.failure) {
      const Error error{.code = *step.failure, .operation = "read by script"};
      steps_.pop_front();
      return error;
    }
    const std::size_t count = std::min(into.size(), step.bytes.size());
    std::copy_n(std::as_bytes(std::span(step.bytes)).begin(), count, into.begin());
    step.bytes.erase(0, count);
    if (step.bytes.empty()) steps_.pop_front();
    return count;
  }

  int reads = 0;

 private:
  struct Step {
    std::string bytes{};
    std::optional<Errc> failure{};
  };
  std::deque<Step> steps_;
};

std::optional<std::string> line(BufferedReader& reader, std::size_t max = 100) {
  return reader.read_line(max, kNever).value();
}

TEST(BufferedReader, LineEndsAtLineFeedWithOrWithoutCarriageReturn) {
  Script script;
  script.add("one\r\ntwo\n\n\r\n\r\r\nlast\n");
  BufferedReader reader(script);
  for (const auto* expected : {"one", "two", "", "", "\r", "last"}) {
    EXPECT_EQ(line(reader), expected);
  }
  EXPECT_EQ(line(reader), std::nullopt);
  EXPECT_EQ(line(reader), std::nullopt) << "the end is still there";
}

TEST(BufferedReader, LineOfExactlyTheLimitIsReadAndOneByteMoreIsRefused) {
  for (const std::string end : {"\n", "\r\n"}) {
    for (const std::size_t chunk : {1U, 2U, 3U, 64U}) {
      Script script;
      script.add("12345" + end + "123456" + end);
      BufferedReader reader(script, chunk);
      EXPECT_EQ(line(reader, 5), "12345");
      EXPECT_EQ(reader.read_line(5, kNever).error().code, Errc::kProtocol);
      EXPECT_EQ(line(reader, 6), "123456") << "what was refused is still there";
    }
  }
}

// Else a peer that never ends its line would fill the memory.
TEST(BufferedReader, EndlessLineIsRefusedBeforeMuchIsRead) {
  Script script;
  for (int i = 0; i < 1000; ++i) script.add(std::string(100, 'x'));
  BufferedReader reader(script, 16);
  EXPECT_EQ(reader.read_line(50, kNever).error().code, Errc::kProtocol);
  EXPECT_LE(reader.buffered().size(), 50U + 16U);
  EXPECT_EQ(reader.read_until("\r\n", 50, kNever).error().code, Errc::kProtocol);
  EXPECT_LE(reader.buffered().size(), 52U + 16U);
}

TEST(BufferedReader, NoLimitIsALimit) {
  Script script;
  script.add("abc");
  script.add("d\nef--g");
  BufferedReader reader(script);
  EXPECT_EQ(reader.read_line(SIZE_MAX, kNever).value(), "abcd");
  EXPECT_EQ(reader.read_until("--", SIZE_MAX, kNever).value(), "ef");
  EXPECT_EQ(reader.read_until("--", SIZE_MAX, kNever).error().code, Errc::kTruncated);
}

TEST(BufferedReader, DelimiterIsFoundHoweverItIsCut) {
  for (const std::size_t chunk : {1U, 2U, 3U, 5U, 64U}) {
    Script script;
    script.add("a--");
    script.add("-");
    script.add("-->b-->-->");
    BufferedReader reader(script, chunk);
    const auto next = [&](std::size_t max) { return reader.read_until("-->", max, kNever); };
    EXPECT_EQ(next(3).error().code, Errc::kProtocol);
    EXPECT_EQ(next(4).value(), "a---");
    EXPECT_EQ(next(1).value(), "b");
    EXPECT_EQ(next(0).value(), "");
    EXPECT_EQ(next(0).value(), std::nullopt);
  }
}

TEST(BufferedReader, EndInTheMiddleIsTruncatedAndTheBytesStay) {
  Script script;
  script.add("half");
  BufferedReader reader(script);
  EXPECT_EQ(reader.read_line(10, kNever).error().code, Errc::kTruncated);
  EXPECT_EQ(reader.read_until(";", 10, kNever).error().code, Errc::kTruncated);
  EXPECT_EQ(reader.read_exactly(5, kNever).error().code, Errc::kTruncated);
  EXPECT_EQ(text_of(reader.buffered()), "half");
  EXPECT_EQ(text_of(reader.read_exactly(4, kNever).value()), "half");
  EXPECT_EQ(line(reader), std::nullopt);
}

TEST(BufferedReader, InterruptedCallsLoseNothing) {
  Script script;
  script.add("li");
  script.add(Errc::kTimedOut);
  script.add("ne\nbl");
  script.add(Errc::kCancelled);
  script.add("ock");
  script.add(Errc::kTimedOut);
  script.add("!");
  BufferedReader reader(script);
  EXPECT_EQ(reader.read_line(10, kNever).error().code, Errc::kTimedOut);
  EXPECT_EQ(line(reader), "line");
  EXPECT_EQ(reader.read_exactly(5, kNever).error().code, Errc::kCancelled);
  std::array<std::byte, 6> bytes;
  EXPECT_EQ(reader.read_exactly(bytes, kNever).error().code, Errc::kTimedOut);
  EXPECT_TRUE(reader.read_exactly(bytes, kNever));
  EXPECT_EQ(text_of(bytes), "block!");
}

TEST(BufferedReader, PeekLeavesTheBytesAndGivesLessOnlyAtTheEnd) {
  Script script;
  script.add("ab");
  script.add("cd");
  BufferedReader reader(script);
  EXPECT_EQ(text_of(reader.peek(1, kNever).value()), "ab");
  EXPECT_EQ(text_of(reader.peek(3, kNever).value()), "abcd");
  reader.consume(1);
  EXPECT_EQ(text_of(reader.peek(9, kNever).value()), "bcd");
  EXPECT_EQ(text_of(reader.read_exactly(3, kNever).value()), "bcd");
}

// A stream that was cut is not one that has ended, and a source says so with an error.
TEST(BufferedReader, ErrorOfTheSourceIsNeverTakenForTheEnd) {
  for (const Errc code : {Errc::kTruncated, Errc::kDisconnected}) {
    Script script;
    for (int i = 0; i < 5; ++i) script.add(code);
    BufferedReader reader(script);
    std::array<std::byte, 1> one;
    EXPECT_EQ(reader.peek(1, kNever).error().code, code);
    EXPECT_EQ(reader.read_line(1, kNever).error().code, code);
    EXPECT_EQ(reader.read_until(";", 1, kNever).error().code, code);
    EXPECT_EQ(reader.read_exactly(one, kNever).error().code, code);
    EXPECT_EQ(reader.read(one, kNever).error().code, code);
  }
}

TEST(BufferedReader, ReadGivesWhatIsBufferedFirstAndDoesNotWaitForMore) {
  Script script;
  script.add("abcdef");
  script.add("gh");
  BufferedReader reader(script);
  EXPECT_EQ(reader.peek(1, kNever).value().size(), 6U);
  std::vector<std::byte> large(10'000);
  EXPECT_EQ(reader.read(large, kNever).value(), 6U);
  EXPECT_EQ(reader.read(large, kNever).value(), 2U);
  EXPECT_EQ(reader.read(large, kNever).value(), 0U);
  EXPECT_EQ(reader.read(std::span(large).first(0), kNever).value(), 0U);
  EXPECT_EQ(script.reads, 3);
}

TEST(BufferedReader, LengthThatThePeerChoseTakesNoMemoryUntilTheBytesCome) {
  Script script;
  script.add("few");
  BufferedReader reader(script);
  EXPECT_EQ(reader.read_exactly(SIZE_MAX, kNever).error().code, Errc::kTruncated);
  EXPECT_EQ(reader.buffered().size(), 3U);
}

// The parameter is the seed of how the bytes are cut and asked for.
class BufferedReaderCuts : public testing::TestWithParam<int> {};

TEST_P(BufferedReaderCuts, AnyMixOfCallsGivesTheBytesInOrder) {
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  const auto below = [&](std::size_t n) { return random() % n; };
  std::string sent;
  Script script;
  while (sent.size() < 20'000) {
    std::string piece(1 + below(below(2) == 0 ? 5 : 3000), '?');
    std::generate(piece.begin(), piece.end(),
                  [&] { return below(20) == 0 ? '\n' : static_cast<char>('a' + below(26)); });
    sent += piece;
    script.add(piece);
    if (below(4) == 0) script.add(Errc::kTimedOut);
  }
  BufferedReader reader(script, 1 + below(200));
  std::string got;
  const auto is_over = [&](const auto& result) {
    return !result && result.error().code == Errc::kTruncated;
  };
  for (bool over = false; !over;) {
    switch (below(4)) {
      case 0: {
        const auto next = reader.read_until("\n", below(200), kNever);
        over = (next && !*next) || is_over(next);
        if (next && *next) got += **next + "\n";
        break;
      }
      case 1: {
        const auto next = reader.read_exactly(below(100), kNever);
        over = is_over(next);
        if (next) got += text_of(*next);
        break;
      }
      case 2: {
        std::vector<std::byte> into(1 + below(400));
        const auto next = reader.read(into, kNever);
        if (next) got += text_of(std::span(into).first(*next));
        break;
      }
      default:
        EXPECT_TRUE(sent.substr(got.size()).starts_with(text_of(reader.buffered())));
    }
  }
  EXPECT_EQ(got + text_of(reader.buffered()), sent);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BufferedReaderCuts, test::seeds<int>(0, 64), test::kSeedName);

// Keeps what was written, by write.
class Log {
 public:
  Result<void> write(std::span<const std::byte> from, Deadline /*deadline*/) {
    if (failing) return Error{.code = *failing, .operation = "write by log"};
    writes.push_back(text_of(from));
    return {};
  }

  std::vector<std::string> writes;
  std::optional<Errc> failing;
};

TEST(BufferedWriter, SmallWritesGoTogetherAndLargeOnesAlone) {
  Log log;
  BufferedWriter writer(log, 8);
  for (const auto* word : {"one ", "two ", "three"}) EXPECT_TRUE(writer.write(word, kNever));
  EXPECT_EQ(log.writes, std::vector<std::string>{"one two "});
  EXPECT_EQ(writer.buffered(), 5U);
  EXPECT_TRUE(writer.write(" four five six", kNever));
  EXPECT_TRUE(writer.write("", kNever));
  EXPECT_EQ(writer.buffered(), 0U);
  EXPECT_TRUE(writer.write("!", kNever));
  EXPECT_TRUE(writer.flush(kNever));
  EXPECT_TRUE(writer.flush(kNever)) << "there is nothing to do";
  EXPECT_EQ(log.writes, (std::vector<std::string>{"one two ", "three", " four five six", "!"}));
}

// The peer may have a part of what failed: to write it again would write that part twice.
TEST(BufferedWriter, FailsForGoodOnceTheSinkHasFailed) {
  Log log;
  BufferedWriter writer(log, 8);
  EXPECT_TRUE(writer.write("12345", kNever));
  log.failing = Errc::kTimedOut;
  EXPECT_EQ(writer.flush(kNever).error().code, Errc::kTimedOut);
  log.failing.reset();
  EXPECT_EQ(writer.flush(kNever).error().code, Errc::kTimedOut);
  EXPECT_EQ(writer.write("6", kNever).error().code, Errc::kTimedOut);
  EXPECT_TRUE(log.writes.empty());
}

}  // namespace
}  // namespace heddle
