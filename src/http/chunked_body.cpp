// The states of a chunked body: see chunked_body.h.
#include "http/chunked_body.h"

#include <algorithm>

#include "http/request_parser.h"
#include "http/text.h"

namespace heddle::http {

ChunkedBody::State ChunkedBody::fail(int status) noexcept {
  status_ = status;
  return State::kFailed;
}

ChunkedBody::State ChunkedBody::expect(char c, char wanted, State then) noexcept {
  return c == wanted ? then : fail(400);
}

// A megabyte in chunks of one byte, each with a long extension, would be gigabytes.
ChunkedBody::State ChunkedBody::count_extra(State then) noexcept {
  return ++extra_ <= kHeadBytesMax ? then : fail(431);
}

ChunkedBody::State ChunkedBody::in_size(char c) noexcept {
  if (const int digit = hex_digit(c); digit >= 0) {
    // Never far above the limit, so that it cannot overflow.
    left_ = left_ * 16 + static_cast<unsigned>(digit);
    if (data_ + left_ > data_max_) return fail(413);
    return left_ == 0 ? count_extra(State::kSize) : State::kSize;
  }
  if (state_ == State::kSizeBegin) return fail(400);
  if (c == '\r') return State::kSizeLf;
  return in_extension(c);
}

ChunkedBody::State ChunkedBody::in_extension(char c) noexcept {
  if (state_ == State::kExtension) {
    if (c == '\r') return State::kSizeLf;
    return is_line_char(c) ? count_extra(State::kExtension) : fail(400);
  }
  if (c == ';') return count_extra(State::kExtension);
  return c == ' ' || c == '\t' ? count_extra(State::kSizeSpace) : fail(400);
}

ChunkedBody::State ChunkedBody::in_trailer(char c) noexcept {
  if (c == '\r') {
    if (state_ == State::kTrailerBegin) return State::kFinalLf;
    return state_ == State::kTrailerValue ? State::kTrailerLf : fail(400);
  }
  if (state_ == State::kTrailerValue) {
    return is_line_char(c) ? count_extra(State::kTrailerValue) : fail(400);
  }
  if (is_token_char(c)) return count_extra(State::kTrailerName);
  const bool named = c == ':' && state_ == State::kTrailerName;
  return named ? count_extra(State::kTrailerValue) : fail(400);
}

ChunkedBody::State ChunkedBody::next(char c) noexcept {
  switch (state_) {
    case State::kSizeBegin:
    case State::kSize:
      return in_size(c);
    case State::kSizeSpace:
    case State::kExtension:
      return in_extension(c);
    case State::kSizeLf:
      return expect(c, '\n', left_ == 0 ? State::kTrailerBegin : State::kData);
    case State::kDataCr:
      return expect(c, '\r', State::kDataLf);
    case State::kDataLf:
      return expect(c, '\n', State::kSizeBegin);
    case State::kTrailerBegin:
    case State::kTrailerName:
    case State::kTrailerValue:
      return in_trailer(c);
    case State::kTrailerLf:
      return expect(c, '\n', State::kTrailerBegin);
    case State::kFinalLf:
      return expect(c, '\n', State::kDone);
    case State::kData:
    case State::kDone:
    case State::kFailed:
      break;
  }
  return state_;
}

std::size_t ChunkedBody::skip(std::string_view bytes) noexcept {
  std::size_t at = 0;
  while (at < bytes.size() && state_ != State::kDone && state_ != State::kFailed) {
    if (state_ != State::kData) {
      state_ = next(bytes[at++]);
      continue;
    }
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size() - at));
    at += count;
    left_ -= count;
    data_ += count;
    if (left_ == 0) state_ = State::kDataCr;
  }
  return at;
}

}  // namespace heddle::http
