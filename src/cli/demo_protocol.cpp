// Sends and receives the demo's messages.
#include "cli/demo_protocol.h"

#include <bit>
#include <span>

namespace heddle::cli {

static_assert(sizeof(Message) == kMessageBytes);

std::array<std::byte, kMessageBytes> encode(const Message& message) {
  return std::bit_cast<std::array<std::byte, kMessageBytes>>(message);
}

Result<void> send_message(Stream& stream, const Message& message, Deadline deadline) {
  return stream.write(encode(message), deadline);
}

Result<Message> receive_message(Stream& stream, Deadline deadline) {
  std::array<std::byte, kMessageBytes> bytes{};
  std::size_t done = 0;
  while (done < bytes.size()) {
    const Result<std::size_t> count = stream.read(std::span(bytes).subspan(done), deadline);
    if (!count) return count.error();
    if (*count == 0) {
      return Error{.code = Errc::kDisconnected,
                   .operation = "read a message",
                   .detail = "the peer has ended"};
    }
    done += *count;
  }
  return std::bit_cast<Message>(bytes);
}

}  // namespace heddle::cli
