// The BIO over a Link: what OpenSSL calls.
#include <cerrno>
#include <cstdint>
#include <new>
#include <optional>
#include <span>

#include "tls/wire/bio_method.h"
#include "tls/wire/link.h"

namespace heddle::tls {
namespace {

Link& link_of(BIO* bio) {
  return *static_cast<Link*>(BIO_get_data(bio));
}

int bio_read(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  const IoResult io =
      link_of(bio).read(std::as_writable_bytes(std::span(into, static_cast<std::size_t>(size))));
  switch (io.kind) {
    case IoResult::Kind::kBytes:
      return static_cast<int>(io.bytes);
    case IoResult::Kind::kWouldBlock:
      BIO_set_retry_read(bio);
      return -1;
    case IoResult::Kind::kEnd:
      return 0;
    case IoResult::Kind::kFailed:
      errno = io.sys_errno;  // OpenSSL makes an entry of it.
      return -1;
  }
  return -1;
}

// -1 if OpenSSL is to come again, or has failed. Never 0: its record layer takes that for success.
int bio_refused(BIO* bio, const IoResult& io) noexcept {
  if (io.kind == IoResult::Kind::kWouldBlock) BIO_set_retry_write(bio);
  errno = io.sys_errno;
  return -1;
}

// Takes everything, as a rule: see Link. No exception may pass through OpenSSL's frames.
int bio_write(BIO* bio, const char* from, int size) noexcept {
  BIO_clear_retry_flags(bio);
  try {
    const IoResult io =
        link_of(bio).write(std::as_bytes(std::span(from, static_cast<std::size_t>(size))));
    return io.kind == IoResult::Kind::kBytes ? size : bio_refused(bio, io);
  } catch (const std::bad_alloc&) {
    link_of(bio).state().failure = Error{.code = Errc::kExhausted, .sys_errno = ENOMEM};
    return bio_refused(bio, {IoResult::Kind::kFailed, 0, ENOMEM});
  }
}

// What is collected is sent when OpenSSL has returned, as a rule.
int bio_flush(BIO* bio) noexcept {
  BIO_clear_retry_flags(bio);
  const IoResult io = link_of(bio).flush_for_openssl();
  return io.kind == IoResult::Kind::kBytes ? 1 : bio_refused(bio, io);
}

long bio_ctrl_seldom(BIO* bio, int command, long number, void* pointer) {
  Link& link = link_of(bio);
  switch (command) {
    case BIO_CTRL_FLUSH:
      return bio_flush(bio);
    case BIO_CTRL_EOF:
      return link.state().at_end ? 1 : 0;  // Tells a cut connection from a failed read.
    case kControlGetUnread:
      *static_cast<std::span<const std::byte>*>(pointer) = link.unread();
      return 1;
    case kControlSetKeys:
      return link.hand_keys_to_kernel(/*for_sending=*/number != 0, pointer) ? 1 : 0;
    case kControlSetRecordType:
      link.set_record_type(static_cast<std::uint8_t>(number));
      return 0;
    case kControlClearRecordType:
      link.set_record_type(std::nullopt);
      return 0;
    default:
      return 0;
  }
}

bool asks_for_kernel(int command) noexcept {
  return command == BIO_CTRL_GET_KTLS_SEND || command == BIO_CTRL_GET_KTLS_RECV;
}

// OpenSSL asks for the kernel a dozen times for each record.
long bio_ctrl_without_kernel(BIO* bio, int command, long number, void* pointer) {
  return asks_for_kernel(command) ? 0 : bio_ctrl_seldom(bio, command, number, pointer);
}

long bio_ctrl_with_kernel(BIO* bio, int command, long number, void* pointer) {
  if (!asks_for_kernel(command)) return bio_ctrl_seldom(bio, command, number, pointer);
  const KernelRecords& kernel = *link_of(bio).kernel();
  return (command == BIO_CTRL_GET_KTLS_SEND ? kernel.sends() : kernel.receives()) ? 1 : 0;
}

}  // namespace

openssl::BioPtr make_bio(Link& link) {
  constexpr const char* kName = "heddle transport";
  static const openssl::BioMethodPtr without_kernel = make_bio_method(
      kName, {.read = bio_read, .write = bio_write, .ctrl = bio_ctrl_without_kernel});
  static const openssl::BioMethodPtr with_kernel =
      make_bio_method(kName, {.read = bio_read, .write = bio_write, .ctrl = bio_ctrl_with_kernel});
  return make_bio_over(&link, (link.kernel() != nullptr ? with_kernel : without_kernel).get());
}

}  // namespace heddle::tls
