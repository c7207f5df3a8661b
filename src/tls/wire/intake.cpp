// Finding the records in what OpenSSL reads.
#include "tls/wire/intake.h"

#include <algorithm>

namespace heddle::tls {

// What follows the header.
std::size_t Intake::record_bytes() noexcept {
  const auto number = [this](std::size_t at) {
    return std::to_integer<std::size_t>(header_[at]) << 8 |
           std::to_integer<std::size_t>(header_[at + 1]);
  };
  // A client may begin with a ClientHello as of SSL 2.0 (RFC 5246, appendix E.2): its header has
  // two bytes.
  constexpr std::size_t kHighBit = 0x8000;
  const bool is_old = !any_record_ && (number(0) & kHighBit) != 0;
  any_record_ = true;
  if (!is_old) return number(3);
  return std::max((number(0) & ~kHighBit) + 2, kHeaderBytes) - kHeaderBytes;
}

void Intake::took(std::span<const std::byte> bytes) noexcept {
  if (!established_) handshake_bytes_left_ -= std::min(handshake_bytes_left_, bytes.size());
  if (!aligned_) return;
  while (!bytes.empty()) {
    const std::size_t rest = std::min(record_bytes_left_, bytes.size());
    record_bytes_left_ -= rest;
    bytes = bytes.subspan(rest);
    if (!bytes.empty()) bytes = bytes.subspan(take_header(bytes));
  }
}

// Returns how many of `bytes` belong to the header of the next record.
std::size_t Intake::take_header(std::span<const std::byte> bytes) noexcept {
  if (header_bytes_ == 0) {
    records_left_ -= std::min(records_left_, 1U);
    ++idle_records_;
  }
  const std::size_t count = std::min(kHeaderBytes - header_bytes_, bytes.size());
  std::copy_n(bytes.begin(), count, header_.begin() + header_bytes_);
  header_bytes_ += count;
  if (header_bytes_ == kHeaderBytes) {
    header_bytes_ = 0;
    record_bytes_left_ = record_bytes();
  }
  return count;
}

}  // namespace heddle::tls
