// What `heddle load` makes of answers, however they are cut.
#include <cstddef>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "cli/load_answer.h"
#include "cli/load_url.h"

namespace heddle::cli {
namespace {

struct Seen {
  bool done = false;
  bool failed = false;
  int status = 0;
  bool keeps_alive = false;
  std::size_t taken = 0;
};

// Gives it `text` in pieces of so many bytes.
Seen read(std::string_view text, std::size_t piece, LoadAnswer::Body body) {
  LoadAnswer answer;
  answer.begin(body);
  std::size_t taken = 0;
  while (taken < text.size() && !answer.done() && answer.failure() == nullptr) {
    taken += answer.take(text.substr(taken, piece));
  }
  return {.done = answer.done(),
          .failed = answer.failure() != nullptr,
          .status = answer.status(),
          .keeps_alive = answer.keeps_alive(),
          .taken = taken};
}

// The same for every size of the pieces, or the test fails.
Seen read_cut_anywhere(std::string_view text, LoadAnswer::Body body = LoadAnswer::Body::kAsTold) {
  const Seen whole = read(text, text.size(), body);
  for (std::size_t piece = 1; piece < text.size(); ++piece) {
    const Seen cut = read(text, piece, body);
    EXPECT_EQ(whole.done, cut.done) << piece;
    EXPECT_EQ(whole.failed, cut.failed) << piece;
    EXPECT_EQ(whole.status, cut.status) << piece;
    if (!whole.done) continue;
    EXPECT_EQ(whole.keeps_alive, cut.keeps_alive) << piece;
    EXPECT_EQ(whole.taken, cut.taken) << piece;
  }
  return whole;
}

TEST(LoadAnswerTest, EndsWithItsContentLength) {
  constexpr std::string_view kText = "HTTP/1.1 200 OK\r\ncontent-LENGTH:  5 \r\nTe: x\r\n\r\nhello";
  const Seen seen = read_cut_anywhere(std::string(kText) + "next");
  EXPECT_TRUE(seen.done);
  EXPECT_TRUE(seen.keeps_alive);
  EXPECT_EQ(200, seen.status);
  EXPECT_EQ(kText.size(), seen.taken);
}

TEST(LoadAnswerTest, NothingMayFollowAnEmptyBody) {
  const Seen seen = read_cut_anywhere("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(seen.done);
  EXPECT_EQ(404, seen.status);
}

TEST(LoadAnswerTest, EndsWithTheLastChunk) {
  constexpr std::string_view kText =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  const Seen seen = read_cut_anywhere(kText);
  EXPECT_TRUE(seen.done);
  EXPECT_TRUE(seen.keeps_alive);
  EXPECT_EQ(kText.size(), seen.taken);
}

TEST(LoadAnswerTest, ChunkedBodyMayBeLargerThanARequestsMayBe) {
  std::string text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\n";
  text.append(0x400000, 'x').append("\r\n0\r\n\r\n");
  EXPECT_TRUE(read(text, 16384, LoadAnswer::Body::kAsTold).done);
}

TEST(LoadAnswerTest, WithoutALengthItEndsWithTheConnection) {
  LoadAnswer answer;
  answer.begin(LoadAnswer::Body::kAsTold);
  answer.take("HTTP/1.1 200 OK\r\n\r\nsome");
  EXPECT_FALSE(answer.done());
  EXPECT_TRUE(answer.end());
  EXPECT_TRUE(answer.done());
  EXPECT_FALSE(answer.keeps_alive());
}

TEST(LoadAnswerTest, EndOfTheConnectionCutsAnyOtherAnswer) {
  for (const std::string_view text :
       {"", "HTTP/1.1 200 OK\r\nConte", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"}) {
    LoadAnswer answer;
    answer.begin(LoadAnswer::Body::kAsTold);
    answer.take(text);
    EXPECT_FALSE(answer.end()) << text;
  }
}

TEST(LoadAnswerTest, AnswersThatNeverHaveABodyEndWithTheirHead) {
  EXPECT_TRUE(read_cut_anywhere("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").done);
  EXPECT_TRUE(read_cut_anywhere("HTTP/1.1 204 No Content\r\n\r\n").done);
  EXPECT_TRUE(
      read_cut_anywhere("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", LoadAnswer::Body::kNone)
          .done);
}

TEST(LoadAnswerTest, InterimAnswersAreSkipped) {
  const Seen seen = read_cut_anywhere(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
      "HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx");
  EXPECT_TRUE(seen.done);
  EXPECT_EQ(201, seen.status);
}

TEST(LoadAnswerTest, TellsWhetherTheConnectionGoesOn) {
  EXPECT_FALSE(
      read_cut_anywhere("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n")
          .keeps_alive);
  EXPECT_FALSE(read_cut_anywhere("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").keeps_alive);
  EXPECT_TRUE(
      read_cut_anywhere("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")
          .keeps_alive);
}

TEST(LoadAnswerTest, LinesMayEndWithoutACarriageReturn) {
  EXPECT_TRUE(read_cut_anywhere("HTTP/1.1 200 OK\nContent-Length: 1\n\nx").done);
}

TEST(LoadAnswerTest, WhatIsNoAnswerFails) {
  EXPECT_TRUE(read_cut_anywhere("SSH-2.0-OpenSSH_9.2\r\n\r\n").failed);
  EXPECT_TRUE(read_cut_anywhere("HTTP/2.0 200 OK\r\n\r\n").failed);
  EXPECT_TRUE(read_cut_anywhere("HTTP/1.1 2x0 OK\r\n\r\n").failed);
  EXPECT_TRUE(read_cut_anywhere("HTTP/1.1 2000\r\n\r\n").failed);
}

TEST(LoadAnswerTest, DoubtsAboutTheEndFail) {
  EXPECT_TRUE(read_cut_anywhere("HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\n").failed);
  EXPECT_TRUE(read_cut_anywhere("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").failed);
  EXPECT_TRUE(
      read_cut_anywhere("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n").failed);
  EXPECT_TRUE(read_cut_anywhere("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
                  .failed);
  EXPECT_TRUE(read_cut_anywhere("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
                                "Transfer-Encoding: chunked\r\n\r\n")
                  .failed);
  EXPECT_TRUE(
      read_cut_anywhere("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").failed);
}

TEST(LoadAnswerTest, HeadWithoutAnEndFails) {
  const std::string text = "HTTP/1.1 200 OK\r\nX: " + std::string(70000, 'x');
  EXPECT_TRUE(read(text, 1000, LoadAnswer::Body::kAsTold).failed);
}

TEST(LoadUrlTest, TakesUrlsAndAddresses) {
  const auto full = parse_load_url("https://example.org:8443/a?b");
  ASSERT_TRUE(full);
  EXPECT_EQ("example.org", full->endpoint.host);
  EXPECT_EQ(8443, full->endpoint.port);
  EXPECT_EQ("example.org:8443", full->host);
  EXPECT_EQ("/a?b", full->target);

  const auto short_one = parse_load_url("https://[::1]?q");
  ASSERT_TRUE(short_one);
  EXPECT_EQ("::1", short_one->endpoint.host);
  EXPECT_EQ(443, short_one->endpoint.port);
  EXPECT_EQ("[::1]", short_one->host);
  EXPECT_EQ("/?q", short_one->target);

  const auto bare = parse_load_url("localhost:1");
  ASSERT_TRUE(bare);
  EXPECT_EQ("localhost:1", bare->host);
  EXPECT_EQ("/", bare->target);

  const auto path = parse_load_url("unix:/run/x");
  ASSERT_TRUE(path);
  EXPECT_EQ("/run/x", path->endpoint.unix_path);
}

TEST(LoadUrlTest, RefusesWhatARequestCannotHold) {
  for (const std::string_view text : {"http://localhost/", "localhost", "https://", "https:///x",
                                      "https://h:1/a b", "https://h:1/\r\nX: y", "h:0/", "unix:"}) {
    EXPECT_FALSE(parse_load_url(text)) << text;
  }
}

}  // namespace
}  // namespace heddle::cli
