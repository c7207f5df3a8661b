// Reads the heads of answers: see load_answer.h.
#include "cli/load_answer.h"

#include <algorithm>
#include <charconv>

#include "http/text.h"

namespace heddle::cli {
namespace {

constexpr std::size_t kHeadMax = std::size_t{64} * 1024;

// Where the first empty line ends, or npos.
std::size_t end_of_head(std::string_view bytes) noexcept {
  for (std::size_t at = bytes.find('\n'); at != std::string_view::npos;
       at = bytes.find('\n', at + 1)) {
    const std::string_view next = bytes.substr(at + 1, 2);
    if (next.starts_with('\n')) return at + 2;
    if (next == "\r\n") return at + 3;
  }
  return std::string_view::npos;
}

// Takes the first line from `text`, and returns it without its end.
std::string_view next_line(std::string_view& text) noexcept {
  const std::size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// Whether a list such as "Keep-Alive, Upgrade" has this element.
bool has_element(std::string_view list, std::string_view lower) noexcept {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    if (http::equals_ignoring_case(http::trim(list.substr(0, comma)), lower)) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

bool ends_with_chunked(std::string_view codings) noexcept {
  const std::size_t comma = codings.rfind(',');
  const std::string_view last =
      comma == std::string_view::npos ? codings : codings.substr(comma + 1);
  return http::equals_ignoring_case(http::trim(last), "chunked");
}

}  // namespace

void LoadAnswer::begin(Body body) noexcept {
  state_ = State::kHead;
  body_ = body;
  failure_ = nullptr;
  status_ = 0;
  head_.clear();
}

void LoadAnswer::fail(const char* why) noexcept {
  failure_ = why;
  state_ = State::kFailed;
}

std::size_t LoadAnswer::take(std::string_view bytes) {
  std::size_t taken = 0;
  while (state_ == State::kHead && taken < bytes.size()) taken += take_head(bytes.substr(taken));
  return taken + take_body(bytes.substr(taken));
}

std::size_t LoadAnswer::take_head(std::string_view bytes) {
  if (head_.empty()) {
    const std::size_t end = end_of_head(bytes);
    if (end != std::string_view::npos) {
      read_head(bytes.substr(0, end));
      return end;
    }
  }
  // Its end may lie across the pieces.
  const std::size_t before = head_.size();
  head_.append(bytes.substr(0, kHeadMax + 1 - before));
  const std::size_t end = end_of_head(head_);
  if (end == std::string::npos) {
    if (head_.size() > kHeadMax) fail("the head of the answer is longer than 64 KiB");
    return bytes.size();
  }
  read_head(std::string_view(head_).substr(0, end));
  head_.clear();
  return end - before;
}

void LoadAnswer::read_head(std::string_view head) noexcept {
  has_length_ = chunked_ = coded_ = false;
  left_ = 0;
  if (!read_status_line(next_line(head))) return fail("the answer is not HTTP/1.1 or HTTP/1.0");
  while (!head.empty() && state_ == State::kHead) read_field(next_line(head));
  if (state_ == State::kFailed || (status_ < 200 && status_ != 101)) return;
  if (has_length_ && (chunked_ || coded_)) {
    return fail("the answer has both Content-Length and Transfer-Encoding");
  }
  const bool never_has_body = body_ == Body::kNone || status_ == 204 || status_ == 304;
  if (never_has_body || (has_length_ && left_ == 0)) {
    state_ = State::kDone;
  } else if (chunked_) {
    chunks_ = http::ChunkedBody(kBodyMax);
    state_ = State::kChunks;
  } else if (has_length_) {
    state_ = State::kLength;
  } else {
    keep_alive_ = false;
    state_ = State::kUntilEnd;
  }
}

// "HTTP/1.1 200 OK"
bool LoadAnswer::read_status_line(std::string_view line) noexcept {
  constexpr std::string_view kVersion = "HTTP/1.";
  if (line.size() < 12 || !line.starts_with(kVersion) || line[8] != ' ') return false;
  const std::string_view digits = line.substr(9, 3);
  if (!std::all_of(digits.begin(), digits.end(), http::is_digit)) return false;
  if (line.size() > 12 && line[12] != ' ') return false;
  std::from_chars(digits.data(), digits.data() + digits.size(), status_);
  keep_alive_ = line[7] != '0';
  return status_ >= 100;
}

void LoadAnswer::read_field(std::string_view line) noexcept {
  // All but two or three lines end here.
  const char first = line.empty() ? '\0' : http::to_lower(line.front());
  if (first != 'c' && first != 't') return;
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return fail("the answer has a line that is not a field");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = http::trim(line.substr(colon + 1));
  if (http::equals_ignoring_case(name, "content-length")) {
    read_length(value);
  } else if (http::equals_ignoring_case(name, "transfer-encoding")) {
    chunked_ = ends_with_chunked(value);
    coded_ = !chunked_;
  } else if (http::equals_ignoring_case(name, "connection")) {
    if (has_element(value, "close")) keep_alive_ = false;
    if (has_element(value, "keep-alive")) keep_alive_ = true;
  }
}

void LoadAnswer::read_length(std::string_view value) noexcept {
  std::uint64_t length = 0;
  const char* const end = value.data() + value.size();
  const auto [stopped, error] = std::from_chars(value.data(), end, length);
  if (error != std::errc() || stopped != end || length > kBodyMax) {
    return fail("the answer's Content-Length is not a number");
  }
  if (has_length_ && left_ != length) return fail("the answer has two lengths");
  has_length_ = true;
  left_ = length;
}

std::size_t LoadAnswer::take_body(std::string_view bytes) noexcept {
  switch (state_) {
    case State::kLength: {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
      left_ -= count;
      if (left_ == 0) state_ = State::kDone;
      return count;
    }
    case State::kChunks: {
      const std::size_t count = chunks_.skip(bytes);
      if (chunks_.done()) state_ = State::kDone;
      if (chunks_.failure_status() != 0) fail("the answer's chunks are malformed");
      return count;
    }
    case State::kUntilEnd:
      return bytes.size();
    case State::kHead:
    case State::kDone:
    case State::kFailed:
      break;
  }
  return 0;
}

bool LoadAnswer::end() noexcept {
  if (state_ == State::kUntilEnd) state_ = State::kDone;
  return done();
}

}  // namespace heddle::cli
