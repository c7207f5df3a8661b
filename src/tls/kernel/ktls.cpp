// The kernel's half of a connection.
#include "tls/kernel/ktls.h"

#include <netinet/in.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <openssl/ssl.h>

#if __has_include(<linux/tls.h>)
#include <linux/tls.h>
#else
#define TLS_SET_RECORD_TYPE 1
#endif

#include "base/sigpipe_held.h"

namespace heddle::tls {
namespace {

constexpr int kSolTls = 282;

// RFC 8446, 5.1 and 4.
constexpr std::uint8_t kHandshakeRecord = 22;
constexpr std::byte kKeyUpdateMessage{24};

bool is_tcp(int descriptor) noexcept {
  int protocol = 0;
  socklen_t size = sizeof(protocol);
  return ::getsockopt(descriptor, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
         protocol == IPPROTO_TCP;
}

// Room for the one control message that there is: a record's type.
struct ControlBuffer {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(std::uint8_t))> bytes{};
};

// Repeats a system call that a signal interrupts. errno is the call's.
template <typename Call>
ssize_t uninterrupted(Call call) {
  ssize_t count = 0;
  do {
    errno = 0;
    count = call();
  } while (count < 0 && errno == EINTR);
  return count;
}

}  // namespace

KernelTlsState kernel_tls_obstacle(const Transport& transport) {
  const int descriptor = fiber::call_user(&Transport::tcp_descriptor, transport);
  if (descriptor < 0 || !is_tcp(descriptor)) return KernelTlsState::kNoSocket;
  return kernel_tls_support().state;
}

Error kernel_tls_error(KernelTlsState state) {
  constexpr std::string_view kPrefix = "kernel TLS: ";  // Of every description.
  const bool missing = state == KernelTlsState::kNoModule;
  return {.code = Errc::kInvalid,
          .sys_errno = missing ? kernel_tls_support().sys_errno : 0,
          .operation = "enable kernel TLS",
          .detail = describe(state) + kPrefix.size()};
}

KernelRecords::KernelRecords(KernelTls mode, SSL* ssl, Transport& transport)
    : mode_(mode),
      ssl_(ssl),
      transport_(transport),
      descriptor_(fiber::call_user(&Transport::tcp_descriptor, transport)) {
  SSL_set_options(ssl, SSL_OP_ENABLE_KTLS);
}

bool KernelRecords::take_keys(bool for_sending, void* keys) noexcept {
  KernelTlsState& state = for_sending ? states_.send : states_.receive;
  const bool has_old_keys = state == KernelTlsState::kActive;
  const bool insisted = for_sending && mode_ == KernelTls::kOn;
  if (!has_old_keys && SSL_version(ssl_) == TLS1_3_VERSION && !survives_key_update() && !insisted) {
    state = KernelTlsState::kKeyUpdate;
    return false;
  }
  if (!socket_bio_) socket_bio_.reset(BIO_new_socket(descriptor_, BIO_NOCLOSE));
  const bool taken =
      socket_bio_ && BIO_ctrl(socket_bio_.get(), kControlSetKeys, for_sending ? 1 : 0, keys) > 0;
  if (taken && for_sending) fiber::call_user(&Transport::kernel_tls_begins, transport_);
  if (!has_old_keys) state = taken ? KernelTlsState::kActive : KernelTlsState::kRefused;
  return taken;
}

void KernelRecords::refuse_keys(bool for_sending, KernelTlsState why) noexcept {
  KernelTlsState& state = for_sending ? states_.send : states_.receive;
  if (state != KernelTlsState::kActive) state = why;
}

KernelTlsState KernelRecords::why_not_offered(bool for_sending) const noexcept {
  if ((SSL_get_options(ssl_) & SSL_OP_ENABLE_KTLS) == 0) return KernelTlsState::kSetting;
  switch (SSL_CIPHER_get_cipher_nid(SSL_get_current_cipher(ssl_))) {
    case NID_aes_128_gcm:
    case NID_aes_256_gcm:
    case NID_chacha20_poly1305:
      break;
    default:
      return KernelTlsState::kCipher;
  }
  const bool before_3_2 = OPENSSL_version_major() == 3 && OPENSSL_version_minor() < 2;
  const bool tls_1_3 = SSL_version(ssl_) == TLS1_3_VERSION;
  return !for_sending && tls_1_3 && before_3_2 ? KernelTlsState::kOldOpenssl
                                               : KernelTlsState::kSetting;
}

Result<void> KernelRecords::settle() {
  settled_ = true;
  if (states_.send == KernelTlsState::kHandshake) states_.send = why_not_offered(true);
  if (states_.receive == KernelTlsState::kHandshake) states_.receive = why_not_offered(false);
  count_kernel_connection(states_);
  if (mode_ == KernelTls::kOn && !sends()) return kernel_tls_error(states_.send);
  return {};
}

// The message is five bytes, alone in its record: keys may not change within one (RFC 8446, 5.1).
bool KernelRecords::is_key_update(std::uint8_t record_type,
                                  std::span<const std::byte> message) noexcept {
  return record_type == kHandshakeRecord && message.size() == 5 &&
         message.front() == kKeyUpdateMessage;
}

// What the transport would have done itself, had it made the call.
IoResult KernelRecords::outcome(ssize_t count, int sys_errno, Interest interest) noexcept {
  if (count > 0) return {IoResult::Kind::kBytes, static_cast<std::size_t>(count)};
  if (count == 0) return {IoResult::Kind::kEnd};
  if (sys_errno != EAGAIN) return {IoResult::Kind::kFailed, 0, sys_errno};
  fiber::call_user(&Transport::would_block, transport_, interest);
  return {IoResult::Kind::kWouldBlock};
}

IoResult KernelRecords::read(std::span<std::byte> into) {
  const ssize_t count = uninterrupted(
      [&] { return BIO_read(socket_bio_.get(), into.data(), static_cast<int>(into.size())); });
  return outcome(count, errno, Interest::kRead);
}

IoResult KernelRecords::drop(std::span<std::byte> into) {
  iovec vector{.iov_base = into.data(), .iov_len = into.size()};
  ControlBuffer control;
  const ssize_t count = uninterrupted([&] {
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    return ::recvmsg(descriptor_, &message, 0);
  });
  return outcome(count, errno, Interest::kRead);
}

IoResult KernelRecords::write(std::uint8_t record_type, std::span<const std::byte> from) {
  iovec vector{.iov_base = const_cast<std::byte*>(from.data()), .iov_len = from.size()};
  ControlBuffer control;
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes.data();
  message.msg_controllen = control.bytes.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = kSolTls;
  header->cmsg_type = TLS_SET_RECORD_TYPE;
  header->cmsg_len = CMSG_LEN(sizeof(record_type));
  std::memcpy(CMSG_DATA(header), &record_type, sizeof(record_type));
  const ssize_t count =
      uninterrupted([&] { return ::sendmsg(descriptor_, &message, MSG_NOSIGNAL); });
  return outcome(count, errno, Interest::kWrite);
}

// As SSL_sendfile(), which adds nothing once OpenSSL's own output is gone, and hides errno.
IoResult KernelRecords::sendfile(int file, std::uint64_t offset, std::size_t count) {
  auto from = static_cast<off_t>(offset);
  const SigpipeHeld held;
  const ssize_t sent = uninterrupted([&] { return ::sendfile(descriptor_, file, &from, count); });
  const int failed = errno;
  return outcome(sent, failed, Interest::kWrite);
}

}  // namespace heddle::tls
