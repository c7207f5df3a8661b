// What RequestParser makes of requests that come in pieces, for the tests that compare.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/request_parser.h"

namespace heddle::test {

// What a parser makes of one request.
struct Outcome {
  http::RequestParser::Step step = http::RequestParser::Step::kNeedMore;
  int status = 0;
  std::string method;
  std::string target;
  std::string range;
  bool keep_alive = false;
  bool has_body = false;
  bool expects_continue = false;
  std::size_t used = 0;  // Head and body.

  bool operator==(const Outcome&) const = default;
};

// Feeds `bytes` in pieces that end at `cuts` and at the end. What has been received is
// copied each time, so that a view of an old buffer would be found out.
inline Outcome parse(std::string_view bytes, const std::vector<std::size_t>& cuts = {}) {
  using Step = http::RequestParser::Step;
  http::RequestParser parser;
  Outcome outcome;
  std::vector<std::size_t> ends = cuts;
  ends.push_back(bytes.size());
  std::size_t next = 0;
  std::unique_ptr<std::string> received;
  while (outcome.step == Step::kNeedMore && next < ends.size()) {
    received = std::make_unique<std::string>(bytes.substr(0, ends[next++]));
    outcome.step = parser.parse_head(*received);
  }
  outcome.status = parser.failure_status();
  const http::Request request = parser.request(*received);
  if (outcome.step != Step::kNeedMore) {
    outcome.method = request.method_name;
    outcome.target = request.target;
  }
  if (outcome.step != Step::kDone) return outcome;
  outcome.range = request.range;
  outcome.keep_alive = request.keep_alive;
  outcome.has_body = parser.has_body();
  outcome.expects_continue = parser.expects_continue();
  outcome.used = parser.head_bytes();
  if (!outcome.has_body) return outcome;
  outcome.step = Step::kNeedMore;
  --next;  // What is left of the piece that the head ended in comes first.
  while (outcome.step == Step::kNeedMore && next < ends.size()) {
    const std::string piece(bytes.substr(outcome.used, ends[next++] - outcome.used));
    const http::RequestParser::Skipped skipped = parser.skip_body(piece);
    outcome.used += skipped.bytes;
    outcome.step = skipped.step;
  }
  outcome.status = parser.failure_status();
  return outcome;
}

// What a connection makes of everything that comes: each request's outcome, until one is refused or
// incomplete.
inline std::vector<Outcome> parse_all(std::string_view bytes,
                                      const std::vector<std::size_t>& cuts) {
  std::vector<Outcome> outcomes;
  std::size_t begin = 0;
  do {
    std::vector<std::size_t> rest;
    for (const std::size_t cut : cuts) {
      if (cut > begin) rest.push_back(cut - begin);
    }
    outcomes.push_back(parse(bytes.substr(begin), rest));
    begin += outcomes.back().used;
  } while (outcomes.back().step == http::RequestParser::Step::kDone && begin < bytes.size());
  return outcomes;
}

}  // namespace heddle::test
