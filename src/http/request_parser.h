// RequestParser: HTTP/1.1 requests out of a byte stream, however it is cut.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "http/chunked_body.h"
#include "http/request.h"

namespace heddle::http {

// What a request may have.
inline constexpr std::size_t kHeadBytesMax = std::size_t{16} * 1024;
inline constexpr std::size_t kTargetBytesMax = std::size_t{8} * 1024;
inline constexpr std::uint64_t kBodyBytesMax = std::uint64_t{1024} * 1024;

// RequestParser reads the head of one request, then skips its body. It does no I/O
// and holds no bytes: they stay in the caller's buffer.
//
// What it makes of a request depends on the bytes alone, not on how they were cut: it
// fails at the first byte that cannot be right, or else at the end of the line.
//
// Strict where a doubt would let one request hide another (RFC 9112, 11.2): lines end
// with CR LF, no folded lines, no space before a colon, one Host, one Content-Length or
// one "chunked" and never both.
//
// Errors:   after kFailed it is of no more use, but for what request() knows.
class RequestParser {
 public:
  enum class Step : std::uint8_t { kNeedMore, kDone, kFailed };

  struct Skipped {
    Step step;
    std::size_t bytes;  // How many from the front are dealt with.
  };

  // How many bytes at the front of `bytes` are empty lines, which clients may send
  // between requests (RFC 9112, 2.2).
  static std::size_t empty_lines(std::string_view bytes) noexcept;

  // Reads the head. `bytes` begin with the request's first byte; after kNeedMore,
  // call again with the same bytes, wherever they are by now, and more behind them.
  Step parse_head(std::string_view bytes);

  // The head's length, when parse_head() has returned kDone. The rest of the bytes is
  // body or the next request.
  std::size_t head_bytes() const noexcept { return line_; }

  // The head, when parse_head() has returned kDone: views into `bytes`, which begin
  // with the same head, and into the parser. Before, or after a failure: method and
  // target, as far as they are known, and nothing else that can be relied on.
  Request request(std::string_view bytes) const noexcept;

  // Whether the request has a body that is to be skipped.
  bool has_body() const noexcept { return chunked_ ? !chunks_.done() : body_left_ > 0; }
  // Whether the client waits for a 100 before it sends the body.
  bool expects_continue() const noexcept { return expects_continue_; }

  // Skips as much of the body as `bytes` hold; kDone at its end. After kNeedMore, call
  // again with what comes next: all bytes were dealt with.
  Skipped skip_body(std::string_view bytes) noexcept;

  // The status to answer with, when a step was kFailed. The connection must then be
  // closed: where the next request begins is not known.
  int failure_status() const noexcept { return status_; }

  // What is known of the method, also after a failure.
  Method method() const noexcept { return method_; }

 private:
  struct Part {
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
  };
  // A field that is kept for request().
  struct Kept {
    Part part;
    std::uint8_t joined = 0;  // Came more than once: joined_[joined - 1] instead of `part`.
    bool present = false;
  };
  static constexpr std::size_t kKeptFields = 6;
  enum class Field : std::uint8_t;

  Step scan_line(std::string_view head) noexcept;
  Step read_line(std::string_view head);
  Step read_request_line(std::string_view line);
  Step read_version(std::string_view version);
  Step read_field(std::string_view head, std::string_view line);
  Step read_length(std::string_view value);
  Step read_encoding(std::string_view value);
  Step read_expectation(std::string_view value);
  Step read_host(std::string_view value);
  void read_connection(std::string_view value) noexcept;
  void keep(std::string_view head, Kept& kept, std::string_view value);
  Step finish();
  Step fail(int status) noexcept;
  Step fail_for_size(std::string_view head) noexcept;

  std::size_t line_ = 0;     // Where the present line begins: all before it is read.
  std::size_t scanned_ = 0;  // How far its end has been looked for.
  Part method_name_;
  Part target_;
  int status_ = 0;  // Of a failure.
  Method method_ = Method::kUnknown;
  bool has_request_line_ = false;
  bool http_1_1_ = false;
  bool has_host_ = false;
  bool says_close_ = false;
  bool says_keep_alive_ = false;
  bool expects_continue_ = false;
  bool has_length_ = false;
  bool chunked_ = false;
  std::uint64_t body_left_ = 0;
  ChunkedBody chunks_{kBodyBytesMax};
  std::array<Kept, kKeptFields> kept_{};
  std::vector<std::string> joined_;
};

}  // namespace heddle::http
