// CallbackTransport: TLS over two functions that read and write as blocking code does.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/error.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/transport.h"

namespace heddle {

// CallbackTransport carries TLS over code that waits for its bytes: through channels, over another
// protocol, behind a rate limiter. Code that can say "not now" instead of waiting should derive
// from Transport.
//
// Fibers:   the functions are called only from wait(), never inside OpenSSL, on the fiber that
//   calls the stream, which they may park. `read` and `write` may be in progress at the same time,
//   on two fibers, but each only once. A fiber that reads may first have to write what TLS has to
//   send.
// Threads:  belongs to the thread of its runtime.
// Moving:   only until a stream uses it.
// Lifetime: what the functions use must outlive the stream. The transport holds 16 KiB from the
//   first read on, and a copy of what is being written, 128 KiB at most.
// Errors:   what a function throws comes out of the call of Stream that needed it, unchanged; an
//   Error that a function returns becomes that call's Error, with its context. A throw ends the
//   connection. An Error from `read` ends it too; an Error from `write` ends writing only.
//   kTimedOut once the deadline has passed, and kCancelled in a cancelled fiber, only end the wait:
//   `read` and `write` are called again later.
class HEDDLE_API CallbackTransport final : public Transport {
 public:
  struct Functions {
    // Reads at least one byte and at most `into.size()`; returns 0 at the end of the stream. If it
    // fails with kTimedOut or kCancelled, no byte may be lost.
    std::function<Result<std::size_t>(std::span<std::byte> into, Deadline deadline)> read;

    // Writes at least one byte of `from` and returns how many. If it fails with kTimedOut or
    // kCancelled, it must not have written any.
    std::function<Result<std::size_t>(std::span<const std::byte> from, Deadline deadline)> write;

    // Tells the peer that nothing more will be written. May be empty. Must neither park nor throw:
    // either ends the process with a message that names it. Returns nothing, since no later call
    // could report a failure: a broken connection shows in `read`.
    std::function<void()> shutdown_write{};
  };

  // Precondition: `read` and `write` are not empty.
  explicit CallbackTransport(Functions functions);

  CallbackTransport(const CallbackTransport&) = delete;
  CallbackTransport& operator=(const CallbackTransport&) = delete;
  CallbackTransport(CallbackTransport&& other) noexcept;
  CallbackTransport& operator=(CallbackTransport&& other) noexcept;
  ~CallbackTransport() override;

  IoResult try_read(std::span<std::byte> into) override;
  IoResult try_write(std::span<const std::byte> from) override;
  std::optional<Error> failure() const override { return failure_; }
  Wake wait(Interest interest, Deadline deadline) override;
  void shutdown_write() noexcept override;

 private:
  IoResult fail(const Error& error);
  Wake read_more(Deadline deadline);
  Wake write_all(Deadline deadline);
  Wake write_some(Deadline deadline);

  Functions functions_;
  std::optional<Error> failure_;  // The last one that was told.

  std::vector<std::byte> input_;  // As large as one read may be.
  std::span<const std::byte> unread_;
  std::optional<Error> read_failure_;
  bool at_end_ = false;

  std::vector<std::byte> output_;  // Given to try_write(), from which the stream repeats it.
  std::size_t written_ = 0;        // Of output_.
  bool writing_ = false;           // `write` is in progress.
  std::optional<Error> write_failure_;
};

}  // namespace heddle
