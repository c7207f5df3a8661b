// What is left of a vectored write.
#include "tls/wire/pieces.h"

#include <array>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "support/seeds.h"

namespace heddle::tls {
namespace {

using Bytes = std::span<const std::byte>;

class PiecesTest : public testing::Test {
 protected:
  Pieces pieces(const std::vector<std::string_view>& texts) {
    spans_.clear();
    for (const std::string_view text : texts) spans_.push_back(std::as_bytes(std::span(text)));
    return Pieces(spans_);
  }

  std::string_view front(const Pieces& rest, std::size_t bytes_max = 100, std::size_t gather = 8) {
    return text(rest.front(bytes_max, std::span(gather_).first(gather)));
  }

  static std::string_view text(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::vector<Bytes> spans_;
  std::array<std::byte, 64> gather_{};
};

TEST_F(PiecesTest, NothingIsLeftOfNothing) {
  EXPECT_TRUE(pieces({}).empty());
  EXPECT_TRUE(pieces({""}).empty());
  EXPECT_TRUE(pieces({"", "", ""}).empty());
}

TEST_F(PiecesTest, SmallPiecesAreGathered) {
  const Pieces rest = pieces({"ab", "", "cd", "ef"});
  EXPECT_EQ(front(rest), "abcdef");
  EXPECT_EQ(front(rest, 100, 6), "abcdef");
  EXPECT_EQ(front(rest, 100, 5), "abcde");
  EXPECT_EQ(front(rest, 100, 3), "abc");
}

TEST_F(PiecesTest, LargeOrLastPieceIsNotCopied) {
  const std::string large(20, 'x');
  Pieces rest = pieces({large, "tail"});
  EXPECT_EQ(rest.front(100, gather_).data(), gather_.data());  // 20 < 64.
  EXPECT_EQ(rest.front(100, std::span(gather_).first(20)).data(), spans_[0].data());
  EXPECT_EQ(front(rest, 7), large.substr(0, 7));
  rest.remove(20);
  EXPECT_EQ(rest.front(100, gather_).data(), spans_[1].data());
  EXPECT_EQ(front(rest, 2), "ta");
}

TEST_F(PiecesTest, RemovingGoesAcrossPieces) {
  Pieces rest = pieces({"", "abc", "", "de", "f", ""});
  rest.remove(1);
  EXPECT_EQ(front(rest), "bcdef");
  rest.remove(0);
  EXPECT_EQ(front(rest), "bcdef");
  rest.remove(3);
  EXPECT_EQ(front(rest), "ef");
  rest.remove(1);
  EXPECT_EQ(front(rest), "f");
  rest.remove(1);
  EXPECT_TRUE(rest.empty());
}

// The parameter is the seed.
class RandomPiecesTest : public testing::TestWithParam<int> {};

TEST_P(RandomPiecesTest, EveryByteComesOnceAndInOrder) {
  std::mt19937_64 prng(static_cast<std::uint64_t>(GetParam()));
  std::string all;
  std::vector<std::string> texts(1 + prng() % 12);
  for (std::string& text : texts) {
    for (std::size_t i = prng() % (prng() % 4 == 0 ? 100 : 6); i > 0; --i) {
      text += static_cast<char>('a' + all.size() % 26);
      all += text.back();
    }
  }
  std::vector<Bytes> spans;
  for (const std::string& text : texts) spans.push_back(std::as_bytes(std::span(text)));
  std::array<std::byte, 16> gather{};
  Pieces rest(spans);
  std::string written;
  while (!rest.empty()) {
    const std::size_t bytes_max = 16 + prng() % 30;
    const Bytes chunk = rest.front(bytes_max, gather);
    ASSERT_GT(chunk.size(), 0U);
    ASSERT_LE(chunk.size(), bytes_max);
    const std::size_t count = 1 + prng() % chunk.size();  // A short write.
    written.append(reinterpret_cast<const char*>(chunk.data()), count);
    rest.remove(count);
  }
  EXPECT_EQ(written, all);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomPiecesTest, test::seeds<int>(0, 64), test::kSeedName);

}  // namespace
}  // namespace heddle::tls
