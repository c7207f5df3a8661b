// The buffers that the links of a thread share.
#include "tls/wire/link.h"

#include <algorithm>
#include <array>
#include <functional>
#include <new>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "heddle/transport.h"

namespace heddle::tls {
namespace {

// Source is a transport whose reads are the test's.
class Source final : public Transport {
 public:
  std::function<IoResult(std::span<std::byte>)> on_read;

  IoResult try_read(std::span<std::byte> into) override { return on_read(into); }
  IoResult try_write(std::span<const std::byte> from) override {
    return {IoResult::Kind::kBytes, from.size()};
  }
  Wake wait(Interest, Deadline) override { return Wake::kReady; }
};

IoResult give(std::string_view text, std::span<std::byte> into) {
  const auto from = std::as_bytes(std::span(text));
  std::copy(from.begin(), from.end(), into.begin());
  return {IoResult::Kind::kBytes, from.size()};
}

std::string take(Link& link, std::size_t count) {
  std::string text(count, '\0');
  const IoResult io = link.read(std::as_writable_bytes(std::span(text)));
  text.resize(io.kind == IoResult::Kind::kBytes ? io.bytes : 0);
  return text;
}

TEST(LinkTest, BytesLeftOverMoveOutWhenAnotherLinkReads) {
  Source first;
  Source second;
  first.on_read = [](auto into) { return give("first", into); };
  second.on_read = [](auto into) { return give("other", into); };
  Link one(first);
  Link two(second);
  EXPECT_EQ(take(one, 2), "fi");
  EXPECT_EQ(take(two, 5), "other");
  EXPECT_EQ(take(one, 9), "rst");
}

TEST(LinkTest, FirstMessageThatComesInPiecesIsHandedOutWhole) {
  std::string_view coming("\x16\x03\x01\0\6\1\0\0\2hirest", 15);
  std::size_t piece = 0;
  Source slow;
  slow.on_read = [&](auto into) {
    if (piece == 0) return IoResult{IoResult::Kind::kWouldBlock};
    const IoResult io = give(coming.substr(0, piece), into);
    coming.remove_prefix(piece);
    piece = 0;
    return io;
  };
  Source other;
  other.on_read = [](auto into) { return give("other", into); };
  Link link(slow);
  Link another(other);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(link.has_first_message()) << i;
    EXPECT_EQ(link.read_ahead().kind,
              i == 0 ? IoResult::Kind::kWouldBlock : IoResult::Kind::kBytes);
    EXPECT_EQ(take(another, 5), "other");  // The shared buffer belongs to another meanwhile.
    piece = 1;
  }
  piece = coming.size();
  EXPECT_EQ(link.read_ahead().kind, IoResult::Kind::kBytes);
  EXPECT_TRUE(link.has_first_message());
  EXPECT_EQ(take(link, 99), std::string_view("\x16\x03\x01\0\6\1\0\0\2hirest", 15));
}

TEST(LinkTest, EndWithinTheFirstMessageIsForOpenSslToJudge) {
  Source cut;
  int reads = 0;
  cut.on_read = [&](auto into) {
    return ++reads == 1 ? give("\x16\x03", into) : IoResult{IoResult::Kind::kEnd};
  };
  Link link(cut);
  EXPECT_EQ(link.read_ahead().kind, IoResult::Kind::kBytes);
  EXPECT_EQ(link.read_ahead().kind, IoResult::Kind::kEnd);
  EXPECT_EQ(take(link, 99), "\x16\x03");
}

// As a transport does that is made of another TLS connection.
TEST(LinkTest, LinkReadInsideAnothersTransportGetsABufferOfItsOwn) {
  Source below;
  Source above;
  Link lower(below);
  Link upper(above);
  below.on_read = [](auto into) {
    std::fill(into.begin(), into.end(), std::byte{'!'});
    return give("lower bytes", into);
  };
  above.on_read = [&](std::span<std::byte> into) {
    const IoResult io = give("upper bytes", into);
    EXPECT_EQ(take(lower, 5), "lower");
    Link another(below);
    EXPECT_EQ(take(another, 3), "low");
    return io;
  };
  EXPECT_EQ(take(upper, 5), "upper");
  EXPECT_EQ(take(lower, 99), " bytes");
  EXPECT_EQ(take(upper, 99), " bytes");
  // And what is left over there moves when the buffer is lent once more.
  above.on_read = [&](std::span<std::byte> into) { return give("again", into); };
  below.on_read = [](auto into) { return give("shared", into); };
  EXPECT_EQ(take(lower, 2), "sh");
  EXPECT_EQ(take(upper, 5), "again");
  EXPECT_EQ(take(lower, 99), "ared");
}

TEST(LinkTest, ThreeLevelsEachHaveTheirBytes) {
  Source sources[3];
  Link links[3] = {Link(sources[0]), Link(sources[1]), Link(sources[2])};
  sources[0].on_read = [&](auto into) { return give("0 lowest", into); };
  for (std::size_t i : {1u, 2u}) {
    sources[i].on_read = [&, i](std::span<std::byte> into) {
      const IoResult io = give(i == 1 ? "1 middle" : "2 highest", into);
      EXPECT_EQ(take(links[i - 1], 1), i == 1 ? "0" : "1");
      return io;
    };
  }
  EXPECT_EQ(take(links[2], 1), "2");
  EXPECT_EQ(take(links[0], 99), " lowest");
  EXPECT_EQ(take(links[1], 99), " middle");
  EXPECT_EQ(take(links[2], 99), " highest");
}

// A transport that throws gives the buffer back, too.
TEST(LinkTest, BufferIsLentAgainAfterAnException) {
  Source source;
  source.on_read = [](auto) -> IoResult { throw std::bad_alloc(); };
  const std::byte* first = nullptr;
  {
    Link link(source);
    EXPECT_EQ(link.prefetch().kind, IoResult::Kind::kFailed);
    EXPECT_NE(link.state().thrown, nullptr);
  }
  std::size_t lent = 0;
  for (int i = 0; i < 2; ++i) {
    Link link(source);
    source.on_read = [&](std::span<std::byte> into) {
      EXPECT_TRUE(first == nullptr || first == into.data()) << "not the shared one";
      first = into.data();
      lent = into.size();
      return give("x", into);
    };
    EXPECT_EQ(take(link, 1), "x");
  }
  EXPECT_GT(lent, 64u * 1024) << "room for whole flights";
}

}  // namespace
}  // namespace heddle::tls
