// Reading as much of a ClientHello as tells whether it is whole.
#include "tls/wire/first_message.h"

#include <algorithm>
#include <array>

namespace heddle::tls {
namespace {

constexpr std::size_t kRecordHeaderBytes = 5;   // Type, version, length.
constexpr std::size_t kMessageHeaderBytes = 4;  // Type, length.
constexpr std::size_t kRecordBytesMax = std::size_t{1} << 14;
constexpr std::byte kHandshake{22};
constexpr std::byte kMajorVersion{3};
constexpr std::byte kClientHello{1};

std::size_t number(std::span<const std::byte> bytes) noexcept {
  std::size_t value = 0;
  for (const std::byte byte : bytes) value = value << 8 | std::to_integer<std::size_t>(byte);
  return value;
}

bool is_handshake_record(std::span<const std::byte> header) noexcept {
  const std::size_t length = number(header.subspan(3, 2));
  return header[0] == kHandshake && header[1] == kMajorVersion && length > 0 &&
         length <= kRecordBytesMax;
}

// What is left of the message, whose header may be in several records, behind what was added.
class MessageRest {
 public:
  void add(std::span<const std::byte> bytes) noexcept {
    const std::size_t of_header = std::min(kMessageHeaderBytes - header_bytes_, bytes.size());
    std::copy_n(bytes.begin(), of_header, header_.begin() + header_bytes_);
    header_bytes_ += of_header;
    bytes_ += bytes.size();
  }
  // Whether there is no need to wait: all is here, or it is no ClientHello.
  bool done() const noexcept {
    if (header_bytes_ > 0 && header_.front() != kClientHello) return true;
    return header_bytes_ == kMessageHeaderBytes &&
           bytes_ - kMessageHeaderBytes >= number(std::span(header_).subspan(1));
  }

 private:
  std::array<std::byte, kMessageHeaderBytes> header_{};
  std::size_t header_bytes_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace

bool has_first_message(std::span<const std::byte> bytes) noexcept {
  if (bytes.size() >= kRecordHeaderBytes + kRecordBytesMax) return true;
  MessageRest message;
  while (bytes.size() >= kRecordHeaderBytes) {
    if (!is_handshake_record(bytes)) return true;
    const std::size_t length = number(bytes.subspan(3, 2));
    bytes = bytes.subspan(kRecordHeaderBytes);
    if (bytes.size() < length) return false;
    message.add(bytes.first(length));
    if (message.done()) return true;
    bytes = bytes.subspan(length);
  }
  return !bytes.empty() && bytes.front() != kHandshake;
}

}  // namespace heddle::tls
