// What OpenSSL sees of two MemoryBios.
#include "tls/wire/memory_link.h"

#include <cerrno>
#include <new>
#include <span>

#include "tls/wire/bio_method.h"
#include "tls/wire/first_message.h"

namespace heddle::tls {
namespace {

MemoryLink& link_of(BIO* bio) {
  return *static_cast<MemoryLink*>(BIO_get_data(bio));
}

int memory_read(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  MemoryLink& link = link_of(bio);
  const auto room = std::as_writable_bytes(std::span(into, static_cast<std::size_t>(size)));
  if (const auto refused = link.state.refuse_read(room.size())) {
    if (refused->kind == IoResult::Kind::kWouldBlock) BIO_set_retry_read(bio);
    return -1;
  }
  const std::size_t count = link.next().read(room);
  link.state.intake.took(room.first(count));
  if (count != 0) return static_cast<int>(count);
  if (link.incoming.eof()) {
    link.state.at_end = true;
    return 0;
  }
  BIO_set_retry_read(bio);
  return -1;
}

// Takes everything or fails for good, so no call of OpenSSL's is ever left half done. No exception
// may pass through its frames.
int memory_write(BIO* bio, const char* from, int size) noexcept {
  BIO_clear_retry_flags(bio);
  MemoryLink& link = link_of(bio);
  if (link.state.ended) return size;
  try {
    const Result<void> written =
        link.outgoing.write(std::as_bytes(std::span(from, static_cast<std::size_t>(size))));
    if (written) return size;
    link.state.failure = Error{
        .code = Errc::kDisconnected, .operation = "write to a MemoryBio", .detail = "it has ended"};
    errno = EPIPE;  // OpenSSL makes an entry of it.
  } catch (const std::bad_alloc&) {
    link.state.failure = Error{.code = Errc::kExhausted, .sys_errno = ENOMEM};
    errno = ENOMEM;
  }
  return -1;  // Never 0: OpenSSL's record layer takes that for success.
}

long memory_ctrl(BIO* bio, int command, long /*number*/, void* pointer) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return link_of(bio).state.at_end ? 1 : 0;  // Tells a cut connection from a failed read.
    case kControlGetUnread:
      *static_cast<std::span<const std::byte>*>(pointer) = link_of(bio).next().readable();
      return 1;
    default:
      return 0;
  }
}

}  // namespace

bool MemoryLink::has_first_message() {
  const auto come = incoming.readable();
  if (begun.pending() == 0 && tls::has_first_message(come)) return true;
  begun.write(come).value();
  incoming.consume(come.size());
  return incoming.eof() || tls::has_first_message(begun.readable());
}

openssl::BioPtr make_bio(MemoryLink& link) {
  static const openssl::BioMethodPtr method = make_bio_method(
      "heddle memory", {.read = memory_read, .write = memory_write, .ctrl = memory_ctrl});
  return make_bio_over(&link, method.get());
}

}  // namespace heddle::tls
