// What the two ends of the demo say to each other: messages of 16 bytes, and one big answer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/tls/stream.h"

namespace heddle::cli {

inline constexpr std::size_t kMessageBytes = 16;

// More than two sockets' buffers hold, so that its sender must wait for its reader.
inline constexpr std::size_t kBigAnswerBytes = std::size_t{16} * 1024 * 1024;

enum class Verb : std::uint64_t { kAsk = 1, kAnswer = 2, kAskForMuch = 3 };

struct Message {
  Verb verb = Verb::kAsk;
  std::uint64_t number = 0;

  bool operator==(const Message&) const = default;
};

// As they lie on the wire, in the machine's byte order: both ends are one process.
std::array<std::byte, kMessageBytes> encode(const Message& message);

Result<void> send_message(Stream& stream, const Message& message, Deadline deadline);

// Receives a whole message. Fails with kDisconnected if the peer has ended the connection.
Result<Message> receive_message(Stream& stream, Deadline deadline);

}  // namespace heddle::cli
