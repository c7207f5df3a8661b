// RequestParser: what is accepted, what is refused with which status, and that neither
// depends on how the bytes are cut.
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "http/request_parser.h"
#include "support/request_outcome.h"

namespace heddle::http {
namespace {

using test::Outcome;
using test::parse;
using test::parse_all;
using Step = RequestParser::Step;

int status_of(std::string_view bytes) {
  const Outcome outcome = parse(bytes);
  EXPECT_EQ(outcome.step, Step::kFailed) << bytes.substr(0, 100);
  return outcome.status;
}

TEST(RequestParser, ReadsAPlainRequest) {
  constexpr std::string_view kBytes = "GET /a?b HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\n\r\n";
  const Outcome outcome = parse(kBytes);
  EXPECT_EQ(outcome.step, Step::kDone);
  EXPECT_EQ(outcome.target, "/a?b");
  EXPECT_EQ(outcome.range, "bytes=1-2");
  EXPECT_TRUE(outcome.keep_alive);
  EXPECT_FALSE(outcome.has_body);
  EXPECT_EQ(outcome.used, kBytes.size());
}

// Every request is parsed in one piece, in two, in three, and byte by byte.
void expect_cuts_make_no_difference(std::string_view request) {
  const Outcome whole = parse(request);
  EXPECT_NE(whole.step, Step::kNeedMore) << request;
  std::vector<std::size_t> every;
  for (std::size_t cut = 1; cut < request.size(); ++cut) {
    every.push_back(cut);
    EXPECT_TRUE(parse(request, {cut}) == whole) << request << " cut at " << cut;
    for (std::size_t second = cut + 1; second < request.size(); ++second) {
      const bool same = parse(request, {cut, second}) == whole;
      EXPECT_TRUE(same) << request << " cut at " << cut << " and " << second;
    }
  }
  EXPECT_TRUE(parse(request, every) == whole) << request << " byte by byte";
}

constexpr std::string_view kChunkedHead =
    "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";

std::vector<std::string> good_and_bad_requests() {
  std::vector<std::string> requests = {
      "GET /a HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\nIf-Match: \"a\"\r\n\r\n",
      "GET / HTTP/1.0\r\n\r\n",
      "\r\n\r\nHEAD /h HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
      "\rGET / HTTP/1.0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n",
      "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n!",
      "GET / HTTP/1.1\r\nRange: bytes=1-2\r\nRange: bytes=3-4\r\nHost: x\r\n\r\n",
      "GET / HTTP/1.2\r\nHost: x\r\n\r\n",
      "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=1\r\n -2\r\n\r\n",
      "GET / HTTP/1.1\nHost: x\n\n",
      "GET / HTTP/1.1\r\nHost: x\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\n\n",
      "GET / HTTP/1.1\r\nHost: x\r\rA: b\r\n\r\n",
      "nonsense\r\n\r\n",
      "\x16\x03\x01\x02",
  };
  for (const char* body : {"5;ext=\"a b\"\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: t\r\n\r\n",
                           "0\r\n\r\n",
                           "0\r\n\r",
                           "0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
                           "1 ;a\r\nx\r\n000;b\r\nA: b\r\nC:\r\n\r\n",
                           "1\nx\n0\n\n",
                           "1\r\nx\n0\r\n\r\n",
                           "1\r\nxy\r\n",
                           "0\r\n\n",
                           "0\r\nA: b\n\r\n",
                           "0\r\nA: b\r\n c\r\n\r\n",
                           "0\r\nA\r\n\r\n",
                           "0\r\n: b\r\n\r\n",
                           "0\r\nA : b\r\n",
                           "g\r\n",
                           "\r\n",
                           " 1\r\nx",
                           "1 \r\nx\r\n",
                           "-1\r\n",
                           "0x1\r\n",
                           "ffffffffffffffffffff\r\n",
                           "100001\r\n",
                           "7fffffff\r\n",
                           "1;a\1\r\n",
                           "1;a\rb",
                           "00000000000000000000\r\n\r\n"}) {
    requests.push_back(std::string(kChunkedHead) + body);
  }
  return requests;
}

TEST(RequestParser, CutsMakeNoDifference) {
  for (const std::string& request : good_and_bad_requests()) {
    const bool waits_for_more = request.ends_with("\r\n\r");
    const std::string complete = waits_for_more ? request + "x" : request;
    expect_cuts_make_no_difference(complete);
  }
}

// Several requests on one connection, in pieces of any size.
TEST(RequestParser, CutsMakeNoDifferenceToARowOfRequests) {
  const std::vector<std::string> requests = good_and_bad_requests();
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string row;
    for (int i = 0; i < 4; ++i) row += requests[random() % requests.size()];
    const std::size_t piece_max = 1 + random() % 64;
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at < row.size(); at += 1 + random() % piece_max) cuts.push_back(at);
    ASSERT_TRUE(parse_all(row, cuts) == parse_all(row, {})) << "round " << round << ": " << row;
  }
}

// The limits are reached at the same byte, whatever has come behind it.
TEST(RequestParser, CutsMakeNoDifferenceAtTheLimits) {
  const std::string fields = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
  std::string many_fields = "GET / HTTP/1.1\r\n";
  while (many_fields.size() < kHeadBytesMax + 100) many_fields += "A: b\r\n";
  for (const std::string& request :
       {fields + std::string(kHeadBytesMax, 'a') + "\1",
        fields + std::string(kHeadBytesMax - fields.size() - 1, 'a') + "\r\n\r\n",
        fields + std::string(kHeadBytesMax - fields.size() - 4, 'a') + "\r\n\r\n", many_fields,
        "GET /" + std::string(kHeadBytesMax, 'a') + "\1",
        "GET /" + std::string(kTargetBytesMax, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n",
        std::string(2 * kHeadBytesMax, '\r').insert(0, "GET / HTTP/1.1\r"),
        std::string(kChunkedHead) + "1;" + std::string(kHeadBytesMax, 'e') + "\1",
        std::string(kChunkedHead) + "0\r\nA:" + std::string(kHeadBytesMax, 't') + "\1"}) {
    const Outcome whole = parse(request);
    EXPECT_NE(whole.step, Step::kNeedMore);
    for (std::size_t cut = request.size() - 200; cut < request.size(); ++cut) {
      EXPECT_TRUE(parse(request, {cut}) == whole) << request.substr(0, 60) << " cut at " << cut;
    }
    for (std::size_t cut = kHeadBytesMax - 3; cut < kHeadBytesMax + 3; ++cut) {
      EXPECT_TRUE(parse(request, {cut}) == whole) << request.substr(0, 60) << " cut at " << cut;
    }
  }
}

TEST(RequestParser, LeavesWhatFollows) {
  const std::string first = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
  const Outcome outcome = parse(first + "GET /next HTTP/1.1\r\n");
  EXPECT_EQ(outcome.step, Step::kDone);
  EXPECT_EQ(outcome.used, first.size());
}

TEST(RequestParser, JoinsFieldsThatCameTwice) {
  RequestParser parser;
  const std::string bytes =
      "GET / HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\"\r\nIf-None-Match: \"b\"\r\n\r\n";
  ASSERT_EQ(parser.parse_head(bytes), Step::kDone);
  EXPECT_EQ(parser.request(bytes).if_none_match, "\"a\", \"b\"");
}

TEST(RequestParser, KnowsWhetherTheConnectionGoesOn) {
  const auto keep_alive = [](std::string_view rest) {
    return parse("GET / " + std::string(rest) + "\r\n\r\n").keep_alive;
  };
  EXPECT_TRUE(keep_alive("HTTP/1.1\r\nHost: x"));
  EXPECT_FALSE(keep_alive("HTTP/1.1\r\nHost: x\r\nConnection: close"));
  EXPECT_FALSE(keep_alive("HTTP/1.1\r\nHost: x\r\nConnection: foo, Close"));
  EXPECT_FALSE(keep_alive("HTTP/1.0"));
  EXPECT_TRUE(keep_alive("HTTP/1.0\r\nConnection: Keep-Alive"));
  EXPECT_FALSE(keep_alive("HTTP/1.0\r\nConnection: close, keep-alive"));
  EXPECT_FALSE(keep_alive("HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close"));
  EXPECT_TRUE(keep_alive("HTTP/1.1\r\nHost: x\r\nConnection: closed"));
}

// It is between a client and a proxy (RFC 9112, C.2.2).
TEST(RequestParser, ProxyConnectionMeansNothing) {
  EXPECT_TRUE(parse("GET / HTTP/1.1\r\nHost: x\r\nProxy-Connection: close\r\n\r\n").keep_alive);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n").keep_alive);
  EXPECT_EQ(parse("GET / HTTP/1.0\r\nProxy-Connection: @,\r\n\r\n").step, Step::kDone);
}

TEST(RequestParser, HostIsRequiredOnceAndPlain) {
  EXPECT_EQ(parse("GET / HTTP/1.0\r\n\r\n").step, Step::kDone);
  EXPECT_EQ(parse("GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n").step, Step::kDone);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400);
}

TEST(RequestParser, RefusesBadSyntax) {
  for (const char* bytes :
       {"nonsense\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "GET / http/1.1\r\n\r\n", "\1\2\3 x\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", "GET / HTTP/1.1\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\1\r\n\r\n", "GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"}) {
    EXPECT_EQ(status_of(bytes), 400) << bytes;
  }
}

// At each place of the words that are looked at eight bytes at a time, beside each neighbour.
TEST(RequestParser, RefusesEveryControlCharacterWhereverItStands) {
  const std::string before = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
  for (int c = 0; c < 256; ++c) {
    const bool allowed = c == '\t' || (c >= 0x20 && c != 0x7f);
    for (std::size_t at = 0; at < 20; ++at) {
      for (const char neighbour : {' ', '\t', '~', '\x80', '\xff'}) {
        std::string value(20, neighbour);
        value[at] = static_cast<char>(c);
        const Outcome outcome = parse(before + value + "\r\n\r\n");
        ASSERT_EQ(outcome.step, allowed ? Step::kDone : Step::kFailed)
            << "character " << c << " at " << at << " among " << int{neighbour};
      }
    }
  }
}

TEST(RequestParser, RefusesFoldedLines) {
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n Host: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n \r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c: d\r\n\r\n"), 400);
}

// RFC 9110, 2.5: as the highest minor version that the server knows.
TEST(RequestParser, LaterMinorVersionsAreAnsweredAsHttp11) {
  RequestParser parser;
  const std::string bytes = "GET / HTTP/1.2\r\nHost: x\r\n\r\n";
  ASSERT_EQ(parser.parse_head(bytes), Step::kDone);
  EXPECT_TRUE(parser.request(bytes).http_1_1);
  EXPECT_TRUE(parser.request(bytes).keep_alive);
  EXPECT_EQ(status_of("GET / HTTP/1.9\r\n\r\n"), 400) << "without a Host";
}

// A line that is no request line of any version is not one of another version.
TEST(RequestParser, WhatIsNoRequestLineIsABadRequest) {
  for (const char* line : {"GET  / HTTP/2.0", "GET / HTTP/1.1 HTTP/2.0", "HTTP/2.0", " HTTP/2.0",
                           "GET HTTP/2.0", "G(T / HTTP/2.0", "GET / HTTP/2.0 ", "GET / HTTP/20.0",
                           "GET / HTTP/2", "GET /\t HTTP/2.0"}) {
    EXPECT_EQ(status_of(line + std::string("\r\nHost: x\r\n\r\n")), 400) << line;
  }
}

TEST(RequestParser, OtherVersionsAreNotSupported) {
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/0.9\r\nHost: x\r\n\r\n"), 505);
  EXPECT_EQ(status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/1.x\r\nHost: x\r\n\r\n"), 400);
}

// Whatever leaves in doubt where a body ends would let one request hide another.
TEST(RequestParser, RefusesDoubtfulLengths) {
  const auto status = [](const std::string& fields, const char* version = "1.1") {
    return status_of("POST / HTTP/" + std::string(version) + "\r\nHost: x\r\n" + fields + "\r\n");
  };
  EXPECT_EQ(status("Content-Length: 1\r\nContent-Length: 2\r\n"), 400);
  EXPECT_EQ(status("Content-Length: 1, 2\r\n"), 400);
  EXPECT_EQ(status("Content-Length: +1\r\n"), 400);
  EXPECT_EQ(status("Content-Length: -1\r\n"), 400);
  EXPECT_EQ(status("Content-Length: 0x1\r\n"), 400);
  EXPECT_EQ(status("Content-Length: 99999999999999999999999\r\n"), 413);
  EXPECT_EQ(status("Content-Length: 18446744073709551617\r\n"), 413) << "1, if it wrapped";
  EXPECT_EQ(status("Content-Length: 1, 1\r\n"), 400);
  EXPECT_EQ(status("Content-Length: 1\r\nContent-Length: 1\r\n"), 400);
  EXPECT_EQ(status("Content-Length:\r\n"), 400);
  EXPECT_EQ(status("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400);
  EXPECT_EQ(status("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), 400);
  EXPECT_EQ(status("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400);
  EXPECT_EQ(status("Transfer-Encoding: chunked\r\n", "1.0"), 400);
  EXPECT_EQ(status("Transfer-Encoding: identity\r\n"), 501);
  EXPECT_EQ(status("Transfer-Encoding: gzip, chunked\r\n"), 501);
  EXPECT_EQ(status("Transfer-Encoding: chunked, identity\r\n"), 501);
  EXPECT_EQ(status("Transfer-Encoding: xchunked\r\n"), 501);
}

TEST(RequestParser, ExpectsOnlyContinue) {
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n"), 417);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue);
}

TEST(RequestParser, LimitsTheHead) {
  const std::string start = "GET / HTTP/1.1\r\nHost: x\r\n";
  const std::size_t rest = kHeadBytesMax - start.size() - 7;  // "A: " and two line ends.
  const std::string fits = start + "A: " + std::string(rest, 'a') + "\r\n\r\n";
  ASSERT_EQ(fits.size(), kHeadBytesMax);
  EXPECT_EQ(parse(fits).step, Step::kDone);
  EXPECT_EQ(status_of(start + "A: " + std::string(rest + 1, 'a') + "\r\n\r\n"), 431);
  EXPECT_EQ(status_of(start + std::string(kHeadBytesMax, 'a')), 431);
  std::string many = start;
  while (many.size() < kHeadBytesMax) many += "Field: value\r\n";
  EXPECT_EQ(status_of(many), 431);
  EXPECT_EQ(status_of(std::string(kHeadBytesMax, '\n').insert(0, "GET / HTTP/1.1\r")), 400);
}

// Fields that come one by one must not each get a limit of their own.
TEST(RequestParser, LimitsTheHeadHoweverItIsCut) {
  std::string many = "GET / HTTP/1.1\r\nHost: x\r\n";
  std::vector<std::size_t> cuts;
  while (many.size() < 2 * kHeadBytesMax) {
    cuts.push_back(many.size());
    many += "Field: value\r\n";
  }
  const Outcome outcome = parse(many + "\r\n", cuts);
  EXPECT_EQ(outcome.step, Step::kFailed);
  EXPECT_EQ(outcome.status, 431);
}

TEST(RequestParser, LimitsTheTarget) {
  const auto request = [](std::size_t size) {
    return "GET /" + std::string(size - 1, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n";
  };
  EXPECT_EQ(parse(request(kTargetBytesMax)).step, Step::kDone);
  EXPECT_EQ(status_of(request(kTargetBytesMax + 1)), 414);
  EXPECT_EQ(status_of(request(kHeadBytesMax + 1)), 414);
}

TEST(RequestParser, LimitsTheBody) {
  const auto request = [](std::uint64_t size) {
    return "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n";
  };
  EXPECT_EQ(parse(request(kBodyBytesMax)).step, Step::kNeedMore);
  EXPECT_EQ(status_of(request(kBodyBytesMax + 1)), 413);
  std::string chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 17; ++i) chunked += "10000\r\n" + std::string(0x10000, 'a') + "\r\n";
  EXPECT_EQ(status_of(chunked), 413);
}

TEST(RequestParser, RefusesBadChunks) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(status_of(head + "x\r\n"), 400);
  EXPECT_EQ(status_of(head + "1\r\nab\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(status_of(head + "ffffffffffffffffff\r\n"), 413);
  EXPECT_EQ(status_of(head + "10000000000000001\r\n"), 413) << "1, if it wrapped";
  EXPECT_EQ(status_of(head + "-1\r\n"), 400);
  EXPECT_EQ(status_of(head + "1 \r\n"), 400);
  EXPECT_EQ(status_of(head + "1\na\n0\n\n"), 400);
  EXPECT_EQ(status_of(head + "0\r\nA: b\r\n c\r\n\r\n"), 400);
}

// Extensions and trailers are not data, and must not come without end.
TEST(RequestParser, LimitsWhatIsNoDataInABody) {
  const std::string head(kChunkedHead);
  const std::string fits(kHeadBytesMax - 1, 'e');
  EXPECT_EQ(parse(head + "0;" + fits.substr(1) + "\r\n\r\n").step, Step::kDone);
  EXPECT_EQ(status_of(head + "0;" + fits + "e\r\n\r\n"), 431);
  EXPECT_EQ(status_of(head + "0\r\n" + fits + ":\r\n\r\n"), 431);
  EXPECT_EQ(status_of(head + std::string(kHeadBytesMax + 1, '0')), 431);
  std::string many = head;
  for (std::size_t i = 0; i < kHeadBytesMax; ++i) many += "1;e\r\nx\r\n";
  EXPECT_EQ(status_of(many), 431);
}

// For the log: what was asked for, if it can be told.
TEST(RequestParser, KnowsTargetsOfRefusedRequests) {
  const auto asked = [](const std::string& bytes) {
    RequestParser parser;
    EXPECT_EQ(parser.parse_head(bytes), Step::kFailed) << bytes.substr(0, 60);
    const Request request = parser.request(bytes);
    return std::string(request.method_name) + "|" + std::string(request.target.substr(0, 9));
  };
  EXPECT_EQ(asked("GET /a HTTP/2.0\r\n"), "GET|/a");
  EXPECT_EQ(asked("GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n"), "GET|/a");
  EXPECT_EQ(asked("GET /a b HTTP/1.1\r\n"), "GET|/a");
  EXPECT_EQ(asked("GET /long" + std::string(kHeadBytesMax, 'g')), "GET|/longgggg");
  EXPECT_EQ(asked("GET /long" + std::string(kTargetBytesMax, 'g') + " HTTP/1.1\r\n"),
            "GET|/longgggg");
  EXPECT_EQ(asked(std::string(kHeadBytesMax, 'g')), "|");
  EXPECT_EQ(asked("\x16\x03\x01"), "|");
}

TEST(RequestParser, TellsMethodsApart) {
  const auto method = [](const std::string& name) {
    RequestParser parser;
    EXPECT_EQ(parser.parse_head(name + " / HTTP/1.1\r\nHost: x\r\n\r\n"), Step::kDone) << name;
    return parser.method();
  };
  EXPECT_EQ(method("GET"), Method::kGet);
  EXPECT_EQ(method("HEAD"), Method::kHead);
  EXPECT_EQ(method("DELETE"), Method::kOther);
  EXPECT_EQ(method("get"), Method::kUnknown);
  EXPECT_EQ(method("FROB"), Method::kUnknown);
}

}  // namespace
}  // namespace heddle::http
