// Transport: the byte pipe under a TLS stream, and the one seam tests replace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/export.h"

namespace heddle {

// What to wait for. kReadOrWrite is satisfied by either.
enum class Interest : std::uint8_t { kRead = 1, kWrite = 2, kReadOrWrite = 3 };
enum class Wake : std::uint8_t { kReady, kTimedOut, kCancelled };

struct IoResult {
  enum class Kind : std::uint8_t { kBytes, kWouldBlock, kEnd, kFailed };

  Kind kind;
  std::size_t bytes = 0;  // Set when kBytes: at least 1, may be less than asked.
  int sys_errno = 0;      // Set when kFailed.
};

// Transport moves bytes in order, both ways.
//
// Fibers:   one fiber may wait for reading while another waits for writing. Only
//   wait() parks: the TLS engine calls try_read() and try_write() from inside
//   OpenSSL, where another fiber must not run. Parking there aborts.
// Threads:  belongs to the thread of its runtime.
// Errors:   what any of them throws comes out of the call of Stream that needed it, never through
//   OpenSSL's frames, and ends the connection. Where an errno does not say enough, failure() can
//   add an Error.
class HEDDLE_API Transport {
 public:
  virtual ~Transport() = default;

  // Moves what it can without waiting. Returns kBytes; kWouldBlock, after which the caller calls
  // wait(); kEnd, from try_read() only, at the end of the stream; or kFailed. After kWouldBlock a
  // write is repeated with the same bytes, possibly followed by more.
  virtual IoResult try_read(std::span<std::byte> into) = 0;
  virtual IoResult try_write(std::span<const std::byte> from) = 0;

  // Describes the last kFailed, for a transport that knows more than its errno. Called right after
  // it.
  virtual std::optional<Error> failure() const { return std::nullopt; }

  // Parks the calling fiber until a retry is worthwhile. Must not park if a retry has become
  // worthwhile since the refusal: another fiber may have run in between. Wake-ups may be spurious,
  // so call it in a loop around the operation that would block.
  virtual Wake wait(Interest interest, Deadline deadline) = 0;

  // Tells the peer that nothing more will be written (TCP: sends FIN), after what was written
  // before. Reading goes on. Does nothing if the transport has no such end. Never parks.
  virtual void shutdown_write() noexcept {}

  // For kernel TLS (heddle/tls/ktls.h), which needs a TCP socket: returns the descriptor that
  // carries these bytes, all of them and unchanged; -1 if there is none. The transport still owns
  // it.
  virtual int tcp_descriptor() const noexcept { return -1; }

  // Called when kernel TLS begins. From then on the kernel holds records to be sent, and sends them
  // when the descriptor is closed, without MSG_NOSIGNAL. The transport has to close it in such a
  // way that SIGPIPE does not end the process.
  virtual void kernel_tls_begins() noexcept {}

  // Called when another call on that descriptor has found nothing to read, or no room to write:
  // wait() must then wait for a new event.
  virtual void would_block(Interest /*interest*/) noexcept {}
};

}  // namespace heddle
