// BufferedReader and BufferedWriter: lines, fields and messages over any stream of bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/byte_stream.h"
#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/export.h"
#include "heddle/result.h"

namespace heddle {

// BufferedReader reads from a Socket, a Stream or another ByteSource, and returns lines and
// messages. It is a ByteSource itself.
//
// Fibers:   a call that takes a Deadline parks if the buffer does not hold enough. One fiber reads
//   at a time; another may write to the underlying stream.
// Threads:  as its source.
// Lifetime: the source must outlive it. Bytes that it has read ahead are lost when it is destroyed.
//   Before the source is given to other code (STARTTLS, an upgrade), buffered() must be empty:
//   bytes that the peer has sent early belong to that code, or are an attack (CVE-2011-0411).
// Memory:   one buffer of `chunk` bytes, from the first read on. It grows only as far as a call
//   needs it for bytes that have arrived, and shrinks again when it is empty.
// Errors:   a call that fails has consumed nothing: what has arrived stays in the buffer, and the
//   call may be repeated. kTruncated: the stream ended in the middle of what was asked for.
//   kProtocol: the peer sent more than `max` bytes without a delimiter. Other errors come from the
//   source.
class HEDDLE_API BufferedReader {
 public:
  static constexpr std::size_t kChunk = 4096;

  // `chunk`: how many bytes one read of the source may take. Precondition: not 0.
  template <ByteSource Source>
  explicit BufferedReader(Source& source, std::size_t chunk = kChunk)
      : source_(&source), read_(&read_from<Source>), chunk_(chunk) {}

  BufferedReader(const BufferedReader&) = delete;
  BufferedReader& operator=(const BufferedReader&) = delete;
  ~BufferedReader() = default;

  // Returns the next line without its "\n" or "\r\n"; without that it has at most `max` bytes.
  // Returns nothing at the end of the stream. For protocols in which a lone "\n" does not end a
  // line, use read_until("\r\n").
  Result<std::optional<std::string>> read_line(std::size_t max, Deadline deadline);

  // Returns the bytes before the next `delimiter`, at most `max`, and consumes the delimiter too.
  // Returns nothing at the end of the stream. Precondition: `delimiter` is not empty.
  Result<std::optional<std::string>> read_until(std::string_view delimiter, std::size_t max,
                                                Deadline deadline);

  // Returns exactly the next `count` bytes. Memory is allocated only as they arrive, so a length
  // that the peer has sent costs nothing by itself; the program still has to limit it.
  Result<std::vector<std::byte>> read_exactly(std::size_t count, Deadline deadline);

  // The same; fills `into`.
  Result<void> read_exactly(std::span<std::byte> into, Deadline deadline);

  // As a ByteSource: reads what is buffered, or, if nothing is, reads once from the source. Returns
  // 0 at the end, and if `into` is empty.
  Result<std::size_t> read(std::span<std::byte> into, Deadline deadline);

  // Returns the next bytes without consuming them: at least `count`, or all up to the end of the
  // stream. Valid until the next call.
  Result<std::span<const std::byte>> peek(std::size_t count, Deadline deadline);

  // Returns the bytes that were read ahead. Never parks. Valid until the next call.
  std::span<const std::byte> buffered() const noexcept {
    return std::span(buffer_).subspan(begin_, end_ - begin_);
  }

  // Drops the first `count` bytes of buffered(). Precondition: it has that many.
  void consume(std::size_t count);

 private:
  template <typename Source>
  static Result<std::size_t> read_from(void* source, std::span<std::byte> into, Deadline deadline) {
    return static_cast<Source*>(source)->read(into, deadline);
  }

  Result<std::size_t> read_more(Deadline deadline);
  Result<void> need(std::size_t count, Deadline deadline);
  void make_room();

  void* source_;
  Result<std::size_t> (*read_)(void* source, std::span<std::byte> into, Deadline deadline);
  std::size_t chunk_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0;  // Of what is there and not consumed.
  std::size_t end_ = 0;
};

// BufferedWriter collects small writes to a Socket, a Stream or another ByteSink, and writes them
// together. It is a ByteSink itself.
//
// Fibers:   write() parks when the buffer is full, flush() when it is not empty. One fiber writes
//   at a time.
// Threads:  as its sink.
// Lifetime: the sink must outlive it. Destruction drops what was not flushed: a destructor can
//   neither wait nor report a failure.
// Errors:   those of the sink. After an error it is unknown how much the peer has received, so
//   every later call fails with the same Error.
class HEDDLE_API BufferedWriter {
 public:
  static constexpr std::size_t kCapacity = std::size_t{16} * 1024;  // One TLS record.

  template <ByteSink Sink>
  explicit BufferedWriter(Sink& sink, std::size_t capacity = kCapacity)
      : sink_(&sink), write_(&write_to<Sink>), capacity_(capacity) {}

  BufferedWriter(const BufferedWriter&) = delete;
  BufferedWriter& operator=(const BufferedWriter&) = delete;
  ~BufferedWriter() = default;

  // Takes all of `from`; writes what does not fit into the buffer. Large pieces are not copied.
  Result<void> write(std::span<const std::byte> from, Deadline deadline);
  Result<void> write(std::string_view text, Deadline deadline) {
    return write(std::as_bytes(std::span(text)), deadline);
  }

  // Writes what is in the buffer.
  Result<void> flush(Deadline deadline);

  // How many bytes flush() would write.
  std::size_t buffered() const noexcept { return buffer_.size(); }

 private:
  template <typename Sink>
  static Result<void> write_to(void* sink, std::span<const std::byte> from, Deadline deadline) {
    return static_cast<Sink*>(sink)->write(from, deadline);
  }

  Result<void> write_through(std::span<const std::byte> from, Deadline deadline);

  void* sink_;
  Result<void> (*write_)(void* sink, std::span<const std::byte> from, Deadline deadline);
  std::size_t capacity_;
  std::vector<std::byte> buffer_;
  std::optional<Error> failure_;
};

}  // namespace heddle
