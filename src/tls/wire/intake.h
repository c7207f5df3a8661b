// Intake: how much of what a peer sends one call of OpenSSL may work through.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace heddle::tls {

// Intake counts the records that a BIO hands to OpenSSL, and says when it is to hand out no more.
//
// OpenSSL answers handshake messages by itself, and goes on reading until application data comes
// (SSL_MODE_AUTO_RETRY). A peer that sends KeyUpdates, tickets, HelloRequests or ClientHellos
// faster than they are worked through would keep a call going for ever: past every deadline, with
// answers that fill our memory, and no other fiber would run.
class Intake {
 public:
  // What one call may begin to read: more than the flight of a TLS 1.3 server (six records). A
  // KeyUpdate takes up to 40 us.
  static constexpr unsigned kRecordsPerCall = 8;

  // Records in a row without application data, after the handshake. BoringSSL allows 32 KeyUpdates
  // (kMaxKeyUpdates), Go 16 records of any kind (maxUselessRecords).
  static constexpr unsigned kIdleRecordsMax = 32;

  enum class Verdict : std::uint8_t {
    kGoOn,
    kPause,    // Not in this call.
    kTooMuch,  // Never again.
  };

  // A handshake of more bytes than this is refused.
  void set_handshake_bytes_max(std::size_t bytes) noexcept { handshake_bytes_left_ = bytes; }

  void begin_call() noexcept {
    records_left_ = kRecordsPerCall;
    paused_ = false;
  }

  // Whether the BIO may read. Asked before each read, with what OpenSSL wants: it asks for the five
  // bytes of a header by themselves, so the first such question is where records begin. (A
  // connection that was adopted may be in the middle of one.)
  Verdict ask(std::size_t wanted) noexcept {
    if (wanted == kHeaderBytes) aligned_ = true;
    if (!aligned_ || record_bytes_left_ > 0 || header_bytes_ > 0) return Verdict::kGoOn;
    if (established_ ? idle_records_ > kIdleRecordsMax : handshake_bytes_left_ == 0) {
      return Verdict::kTooMuch;
    }
    paused_ = records_left_ == 0;
    return paused_ ? Verdict::kPause : Verdict::kGoOn;
  }

  // What the BIO has handed out.
  void took(std::span<const std::byte> bytes) noexcept;

  // Whether the call that is over was made to stop.
  bool paused() const noexcept { return paused_; }

  // As much of the header of the first record as has come. Empty if nothing has, if there were more
  // records, or if the connection did not begin here.
  std::span<const std::byte> first_header() const noexcept {
    if (established_ || idle_records_ != 1) return {};
    return std::span(header_).first(header_bytes_ != 0 ? header_bytes_ : kHeaderBytes);
  }

  bool established() const noexcept { return established_; }
  // The handshake is done: its records do not count.
  void establish() noexcept {
    established_ = true;
    idle_records_ = 0;
  }
  // Application data has come.
  void got_data() noexcept { idle_records_ = 0; }

 private:
  std::size_t record_bytes() noexcept;
  std::size_t take_header(std::span<const std::byte> bytes) noexcept;

  static constexpr std::size_t kHeaderBytes = 5;  // RFC 8446, section 5.1: type, version, length.

  std::array<std::byte, kHeaderBytes> header_{};
  std::size_t header_bytes_ = 0;
  std::size_t record_bytes_left_ = 0;
  std::size_t handshake_bytes_left_ = SIZE_MAX;
  unsigned records_left_ = kRecordsPerCall;
  unsigned idle_records_ = 0;
  bool aligned_ = false;
  bool any_record_ = false;
  bool paused_ = false;
  bool established_ = false;
};

}  // namespace heddle::tls
