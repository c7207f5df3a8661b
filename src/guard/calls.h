// The functions that are watched: the SSL I/O calls, and SSL_get_error(), which judges them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace heddle::guard {

enum class Call : std::uint8_t {
  kRead,
  kReadEx,
  kPeek,
  kPeekEx,
  kWrite,
  kWriteEx,
  kWriteEx2,
  kSendfile,
  kShutdown,
  kReadEarlyData,
  kWriteEarlyData,
  kGetError,
  kConnect,
  kAccept,
  kDoHandshake,
  kStateless,
  kListen,
};

// In the order of Call.
inline constexpr std::array kCallNames = {
    "SSL_read",
    "SSL_read_ex",
    "SSL_peek",
    "SSL_peek_ex",
    "SSL_write",
    "SSL_write_ex",
    "SSL_write_ex2",
    "SSL_sendfile",
    "SSL_shutdown",
    "SSL_read_early_data",
    "SSL_write_early_data",
    "SSL_get_error",
    "SSL_connect",
    "SSL_accept",
    "SSL_do_handshake",
    "SSL_stateless",
    "DTLSv1_listen",
};

inline constexpr std::size_t kCallCount = kCallNames.size();

constexpr std::size_t index_of(Call call) {
  return static_cast<std::size_t>(call);
}
constexpr const char* name_of(Call call) {
  return kCallNames[index_of(call)];
}

// Handshakes empty the queue before they begin (state_machine() in ssl/statem/statem.c), so what
// they find there does them no harm.
constexpr bool clears_the_queue_itself(Call call) {
  return call >= Call::kConnect;
}

constexpr bool reads(Call call) {
  return call <= Call::kPeekEx;
}

// Whether OpenSSL makes the call `inner` as a part of `outer`.
constexpr bool is_part_of(Call inner, Call outer) {
  switch (outer) {
    case Call::kConnect:
    case Call::kAccept:
      return inner == Call::kDoHandshake;
    case Call::kStateless:
    case Call::kListen:
    case Call::kReadEarlyData:
      return inner == Call::kAccept || inner == Call::kDoHandshake || inner == Call::kReadEx;
    case Call::kWriteEarlyData:
      return inner == Call::kConnect || inner == Call::kDoHandshake || inner == Call::kWriteEx;
    default:
      return false;
  }
}

// SSL_shutdown() returns 0 for "sent, not yet answered"; everywhere else 0 is a failure.
constexpr bool failed(Call call, std::int64_t result) {
  return call == Call::kShutdown ? result < 0 : result <= 0;
}

}  // namespace heddle::guard
