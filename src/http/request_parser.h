// RequestParser: HTTP/1.1 requests out of a byte stream, however it is cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "http/request.h"

namespace heddle::http {

// What a request may have.
inline constexpr std::size_t kHeadBytesMax = std::size_t{16} * 1024;
inline constexpr std::size_t kTargetBytesMax = std::size_t{8} * 1024;
inline constexpr std::uint64_t kBodyBytesMax = std::uint64_t{1024} * 1024;

// RequestParser reads the head of one request, then skips its body. It does no I/O
// and holds no bytes: they stay in the caller's buffer.
//
// Errors:   after kFailed it is of no more use.
class RequestParser {
 public:
  enum class Step : std::uint8_t { kNeedMore, kDone, kFailed };

  struct Skipped {
    Step step;
    std::size_t bytes;  // How many from the front are dealt with.
  };

  RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;
  ~RequestParser();

  // Reads the head. `bytes` begin with the request's first byte; after kNeedMore,
  // call again with the same bytes, wherever they are by now, and more behind them.
  Step parse_head(std::string_view bytes);

  // The head's length, when parse_head() has returned kDone. The rest of the bytes is
  // body or the next request.
  std::size_t head_bytes() const noexcept;

  // The head, when parse_head() has returned kDone: views into `bytes`, which begin
  // with the same head, and into the parser.
  Request request(std::string_view bytes) const noexcept;

  // Whether the request has a body that is to be skipped.
  bool has_body() const noexcept;
  // Whether the client waits for a 100 before it sends the body.
  bool expects_continue() const noexcept;

  // Skips as much of the body as `bytes` hold; kDone at its end. After kNeedMore, call
  // again with what was not dealt with, and more behind it.
  Skipped skip_body(std::string_view bytes);

  // The status to answer with, when a step was kFailed. The connection must then be
  // closed: where the next request begins is not known.
  int failure_status() const noexcept;

  // What is known of the method, also after a failure.
  Method method() const noexcept;

 private:
  class Events;

  std::unique_ptr<Events> events_;
};

}  // namespace heddle::http
