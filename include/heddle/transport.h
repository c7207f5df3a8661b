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
// Errors:   what any of them throws comes out of the call of Stream that needed it, never
//   through OpenSSL's frames, and the connection is over. An errno that is not enough can be
//   completed by failure().
class HEDDLE_API Transport {
 public:
  virtual ~Transport() = default;

  // Moves what it can at once: kBytes; kWouldBlock, after which wait() is worth
  // calling; kEnd, from try_read() only, at the end of the stream; or kFailed.
  // After kWouldBlock a write is repeated with the same bytes, and maybe more behind them.
  virtual IoResult try_read(std::span<std::byte> into) = 0;
  virtual IoResult try_write(std::span<const std::byte> from) = 0;

  // What the last kFailed was, for a transport that knows more than its errno. Asked at once.
  virtual std::optional<Error> failure() const { return std::nullopt; }

  // Parks the calling fiber until a retry is worthwhile, and not at all if it has become so since
  // the refusal: in between, another fiber may have run. Wake-ups may be
  // spurious, so call it in a loop around the operation that would block.
  virtual Wake wait(Interest interest, Deadline deadline) = 0;

  // Tells the peer that nothing more will be written (TCP: sends FIN), after what
  // was written before. Reading goes on. Does nothing where there is no such
  // thing. Never parks.
  virtual void shutdown_write() noexcept {}

  // For kernel TLS (heddle/tls/ktls.h), which takes a TCP socket: the descriptor through which
  // these bytes go, all of them and unchanged; -1 if there is none. Stays owned by the transport.
  virtual int tcp_descriptor() const noexcept { return -1; }

  // From now on the kernel holds records to be sent, and sends them when the descriptor is closed,
  // without MSG_NOSIGNAL: whoever closes it sees to it that SIGPIPE does not end the process.
  virtual void kernel_tls_begins() noexcept {}

  // Another call on that descriptor has found nothing to read, or no room: wait() is to wait for
  // more.
  virtual void would_block(Interest /*interest*/) noexcept {}
};

}  // namespace heddle
