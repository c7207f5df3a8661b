// ChunkedBody: skips a body in the chunked coding (RFC 9112, 7.1), byte by byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace heddle::http {

// ChunkedBody finds the end of a body. It is a state machine over bytes: its state depends on what
// came, not on how that was cut, and it holds no bytes.
//
// What decides is strict: a size is hexadecimal digits and nothing else, a line ends with CR LF, a
// trailer line is a field. Values of extensions and trailers are not looked at.
//
// Errors:   after a failure it is of no more use.
class ChunkedBody {
 public:
  // Fails with 413 for a body of more than `data_max` bytes. Precondition: at most 2^56.
  explicit ChunkedBody(std::uint64_t data_max) noexcept : data_max_(data_max) {}

  // Takes bytes until the end of the body, and returns how many those were. Stops early after a
  // failure.
  std::size_t skip(std::string_view bytes) noexcept;

  bool done() const noexcept { return state_ == State::kDone; }
  // The status to answer with: 0 as long as nothing is wrong.
  int failure_status() const noexcept { return status_; }

 private:
  enum class State : std::uint8_t {
    kSizeBegin,
    kSize,
    kSizeSpace,  // Which an extension has to follow.
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailerBegin,
    kTrailerName,
    kTrailerValue,
    kTrailerLf,
    kFinalLf,
    kDone,
    kFailed,
  };

  State next(char c) noexcept;
  State in_size(char c) noexcept;
  State in_extension(char c) noexcept;
  State in_trailer(char c) noexcept;
  State expect(char c, char wanted, State then) noexcept;
  State count_extra(State then) noexcept;
  State fail(int status) noexcept;

  std::uint64_t data_max_;
  State state_ = State::kSizeBegin;
  int status_ = 0;
  std::uint64_t left_ = 0;   // Of the present chunk's data.
  std::uint64_t data_ = 0;   // Of all chunks so far.
  std::uint64_t extra_ = 0;  // Bytes that carry nothing: extensions, trailers, leading zeros.
};

}  // namespace heddle::http
