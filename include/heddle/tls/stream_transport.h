// StreamTransport: a TLS connection as the byte pipe of another one, TLS in TLS.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "heddle/error.h"
#include "heddle/export.h"
#include "heddle/tls/stream.h"
#include "heddle/transport.h"

namespace heddle {

// StreamTransport carries a TLS connection over another one, the inner stream: to an origin
// through an HTTPS proxy (heddle/tls/http_connect.h), or over a tunnel. To any depth.
//
// Fibers:   only wait() parks. Only there does the inner stream handle records and handshakes, so
//   its callbacks may park as usual. If the inner stream's handshake is not done yet, it is done in
//   wait().
// Threads:  the inner stream's.
// Moving:   only until a stream uses it, as with every Transport.
// Lifetime: nobody else may read or write the inner stream meanwhile, nor use its transport.
// Errors:   what the inner stream fails with (kUntrusted, kTruncated, ...) is what the call of the
//   outer stream fails with, whole. Its peer's close_notify is the end of this transport, and so
//   kTruncated to the outer stream, unless that has ended before.
class HEDDLE_API StreamTransport final : public Transport {
 public:
  // The first form owns the inner stream; in the second it must outlive the transport, and stay
  // where it is.
  explicit StreamTransport(Stream&& inner) : owned_(std::move(inner)) {}
  explicit StreamTransport(Stream& inner) : borrowed_(&inner) {}

  IoResult try_read(std::span<std::byte> into) override;
  IoResult try_write(std::span<const std::byte> from) override;
  std::optional<Error> failure() const override { return failure_; }
  Wake wait(Interest interest, Deadline deadline) override;

  // Sends the inner close_notify and the end of the transport below, at once or, where output
  // has to wait, in wait(). From then on the end is kEnd only when it has come from below as well.
  void shutdown_write() noexcept override;

  Stream& inner() noexcept { return owned_ ? *owned_ : *borrowed_; }

 private:
  IoResult fail(const Error& error);
  IoResult drain(std::span<std::byte> scratch);

  std::optional<Stream> owned_;
  Stream* borrowed_ = nullptr;         // Unless owned_.
  std::optional<Error> failure_;       // The last one that was told.
  std::optional<Error> wait_failure_;  // Of wait(), and the inner stream does not keep it.
  std::size_t encrypted_ = 0;  // Of the bytes last given to try_write(): in records not all sent.
  std::size_t dropped_ = 0;    // Bytes below, behind the inner connection's end.
  bool at_end_ = false;        // The inner peer's close_notify has come.
  bool ending_ = false;        // shutdown_write() was called, ...
  bool end_wanted_ = false;    // ... and could not be done yet.
};

}  // namespace heddle
