// The buffers of BufferedReader and BufferedWriter.
#include "heddle/buffered.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "base/die.h"

namespace heddle {
namespace {

// What is read ends in the middle.
Error cut_off(const char* operation) {
  return {.code = Errc::kTruncated,
          .operation = operation,
          .detail = "the stream has ended in the middle"};
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Error too_long(const char* operation, const char* detail) {
  return {.code = Errc::kProtocol, .operation = operation, .detail = detail};
}

}  // namespace

void BufferedReader::consume(std::size_t count) {
  HEDDLE_ASSERT(count <= end_ - begin_);
  begin_ += count;
  if (begin_ < end_) return;
  begin_ = end_ = 0;
  if (buffer_.size() > chunk_) {
    buffer_.resize(chunk_);
    buffer_.shrink_to_fit();
  }
}

// For one more chunk behind what is there. Grows by half at least, so that bytes are copied twice
// on average, however large the whole becomes.
void BufferedReader::make_room() {
  if (chunk_ == 0) die("a BufferedReader with a buffer of 0 bytes: it has nowhere to read to");
  if (buffer_.size() - end_ >= chunk_) return;
  const std::size_t held = end_ - begin_;
  if (begin_ > 0) {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
              buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
    begin_ = 0;
    end_ = held;
  }
  if (buffer_.size() - held < chunk_) {
    buffer_.resize(held == 0 ? chunk_ : std::max(held + chunk_, held + held / 2));
  }
}

// Returns how many; 0 at the end.
Result<std::size_t> BufferedReader::read_more(Deadline deadline) {
  make_room();
  const Result<std::size_t> count =
      read_(source_, std::span(buffer_).subspan(end_, chunk_), deadline);
  if (count) end_ += *count;
  return count;
}

Result<void> BufferedReader::need(std::size_t count, Deadline deadline) {
  const Result<std::span<const std::byte>> there = peek(count, deadline);
  if (!there) return there.error();
  if (there->size() < count) return cut_off("read so many bytes");
  return {};
}

Result<std::optional<std::string>> BufferedReader::read_until(std::string_view delimiter,
                                                              std::size_t max, Deadline deadline) {
  constexpr const char* kOperation = "read up to a delimiter";
  if (delimiter.empty()) {
    die("BufferedReader::read_until() with an empty delimiter: every text begins with that");
  }
  std::size_t searched = 0;
  for (;;) {
    const std::string_view held = text_of(buffered());
    const std::size_t found = held.find(delimiter, searched);
    if (found != std::string_view::npos && found <= max) {
      std::string text(held.substr(0, found));
      consume(found + delimiter.size());
      return std::optional(std::move(text));
    }
    // A delimiter that has begun may still be completed, right behind `max` bytes.
    const bool no_room = held.size() >= delimiter.size() && held.size() - delimiter.size() >= max;
    if (found != std::string_view::npos || no_room) {
      return too_long(kOperation, "the peer sends more without one than allowed");
    }
    searched = held.size() - std::min(held.size(), delimiter.size() - 1);
    const Result<std::size_t> more = read_more(deadline);
    if (!more) return more.error();
    if (*more > 0) continue;
    if (held.empty()) return std::optional<std::string>();
    return cut_off(kOperation);
  }
}

Result<std::optional<std::string>> BufferedReader::read_line(std::size_t max, Deadline deadline) {
  constexpr const char* kOperation = "read a line";
  std::size_t searched = 0;
  for (;;) {
    const std::string_view held = text_of(buffered());
    const std::size_t found = held.find('\n', searched);
    const bool ended = found != std::string_view::npos;
    const std::size_t length = ended && found > 0 && held[found - 1] == '\r' ? found - 1 : found;
    if (ended && length <= max) {
      std::string line(held.substr(0, length));
      consume(found + 1);
      return std::optional(std::move(line));
    }
    // A "\r" at the end may belong to the line's end.
    const std::size_t least = held.size() - (held.ends_with('\r') ? 1 : 0);
    if (ended || least > max) {
      return too_long(kOperation, "the peer's line is longer than allowed");
    }
    searched = held.size();
    const Result<std::size_t> more = read_more(deadline);
    if (!more) return more.error();
    if (*more > 0) continue;
    if (held.empty()) return std::optional<std::string>();
    return cut_off(kOperation);
  }
}

Result<void> BufferedReader::read_exactly(std::span<std::byte> into, Deadline deadline) {
  if (const Result<void> there = need(into.size(), deadline); !there) return there;
  std::copy_n(buffered().begin(), into.size(), into.begin());
  consume(into.size());
  return {};
}

Result<std::vector<std::byte>> BufferedReader::read_exactly(std::size_t count, Deadline deadline) {
  if (const Result<void> there = need(count, deadline); !there) return there.error();
  const std::span<const std::byte> bytes = buffered().first(count);
  std::vector<std::byte> taken(bytes.begin(), bytes.end());
  consume(count);
  return taken;
}

Result<std::size_t> BufferedReader::read(std::span<std::byte> into, Deadline deadline) {
  if (into.empty()) return std::size_t{0};
  if (begin_ == end_) {
    // Nothing to keep in order with: without a copy, if it is worth it.
    if (into.size() >= chunk_) return read_(source_, into, deadline);
    const Result<std::size_t> more = read_more(deadline);
    if (!more || *more == 0) return more;
  }
  const std::size_t count = std::min(into.size(), end_ - begin_);
  std::copy_n(buffered().begin(), count, into.begin());
  consume(count);
  return count;
}

Result<std::span<const std::byte>> BufferedReader::peek(std::size_t count, Deadline deadline) {
  while (end_ - begin_ < count) {
    const Result<std::size_t> more = read_more(deadline);
    if (!more) return more.error();
    if (*more == 0) break;
  }
  return buffered();
}

Result<void> BufferedWriter::write_through(std::span<const std::byte> from, Deadline deadline) {
  if (from.empty()) return {};
  const Result<void> written = write_(sink_, from, deadline);
  if (!written) failure_ = written.error();
  return written;
}

Result<void> BufferedWriter::write(std::span<const std::byte> from, Deadline deadline) {
  if (failure_) return *failure_;
  if (from.size() > capacity_ - buffer_.size()) {
    if (const Result<void> flushed = flush(deadline); !flushed) return flushed;
    if (from.size() >= capacity_) return write_through(from, deadline);
  }
  buffer_.insert(buffer_.end(), from.begin(), from.end());
  return {};
}

Result<void> BufferedWriter::flush(Deadline deadline) {
  if (failure_) return *failure_;
  const Result<void> written = write_through(buffer_, deadline);
  if (written) buffer_.clear();
  return written;
}

}  // namespace heddle
