// What streams of bytes have in common, as concepts: Socket, Stream and what programs write like
// them.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>

#include "heddle/deadline.h"
#include "heddle/result.h"

namespace heddle {

// ByteSource is what can be read from. read() returns at least one byte and at most `into.size()`,
// or 0 at the end; if it fails with kTimedOut or kCancelled, no byte is lost. Parks.
template <typename T>
concept ByteSource = requires(T& source, std::span<std::byte> into, Deadline deadline) {
  { source.read(into, deadline) } -> std::same_as<Result<std::size_t>>;
};

// ByteSink is what can be written to. write() writes all of `from`; if it fails, a part may have
// been written, and only the sink knows whether another write makes sense. Parks.
template <typename T>
concept ByteSink = requires(T& sink, std::span<const std::byte> from, Deadline deadline) {
  { sink.write(from, deadline) } -> std::same_as<Result<void>>;
};

// ByteStream is a connection. close() ends it without losing what was written. Parks.
template <typename T>
concept ByteStream = ByteSource<T> && ByteSink<T> && requires(T& stream, Deadline deadline) {
  { stream.close(deadline) } -> std::same_as<Result<void>>;
};

}  // namespace heddle
