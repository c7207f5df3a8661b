// LoadAnswer: finds the end of an HTTP/1.1 answer, and its status, and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "http/chunked_body.h"

namespace heddle::cli {

// LoadAnswer is what a load generator must know of an answer. It takes the bytes as they come,
// however they are cut, and keeps none of them: only a head that has come in part is kept until its
// end. Answers with a status below 200 are skipped; another one follows them (RFC 9110, 15.2).
//
// Lenient where a server may be old (lines that end with LF alone) and strict where the end of the
// answer is in doubt: a Content-Length that is no number, or two that differ, or one beside
// Transfer-Encoding, is a failure.
//
// Memory: none is allocated for an answer whose head comes in one piece.
class LoadAnswer {
 public:
  enum class Body : std::uint8_t { kAsTold, kNone };  // kNone: the answer to a HEAD.

  // Begins with the next answer.
  void begin(Body body) noexcept;

  // Takes bytes up to the end of the answer, and returns how many those were.
  std::size_t take(std::string_view bytes);

  // Tells that the connection has ended in order. False if the answer is cut off by that.
  bool end() noexcept;

  bool done() const noexcept { return state_ == State::kDone; }
  // Why this is not an answer, or null. A static string.
  const char* failure() const noexcept { return failure_; }
  int status() const noexcept { return status_; }
  // Whether the connection may carry another request. When done().
  bool keeps_alive() const noexcept { return keep_alive_; }

 private:
  enum class State : std::uint8_t { kHead, kLength, kChunks, kUntilEnd, kDone, kFailed };

  std::size_t take_head(std::string_view bytes);
  std::size_t take_body(std::string_view bytes) noexcept;
  void read_head(std::string_view head) noexcept;
  bool read_status_line(std::string_view line) noexcept;
  void read_field(std::string_view line) noexcept;
  void read_length(std::string_view value) noexcept;
  void fail(const char* why) noexcept;

  // No answer is so long; what matters is that nothing overflows.
  static constexpr std::uint64_t kBodyMax = std::uint64_t{1} << 50;

  State state_ = State::kDone;
  Body body_ = Body::kAsTold;
  const char* failure_ = nullptr;
  int status_ = 0;
  bool keep_alive_ = false;
  bool has_length_ = false;
  bool chunked_ = false;
  bool coded_ = false;  // By something that is not "chunked" at last: ends with the connection.
  std::uint64_t left_ = 0;
  http::ChunkedBody chunks_{kBodyMax};
  std::string head_;  // What has come of it, as long as its end has not.
};

}  // namespace heddle::cli
