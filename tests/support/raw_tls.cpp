// Direct BIOs and careless callers.
#include "support/raw_tls.h"

#include <cerrno>
#include <span>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "heddle/fiber.h"

#include "base/assert.h"
#include "tls/state/context_state.h"

namespace heddle::test {
namespace {

struct Direct {
  Transport& transport;
  WhenBlocked when_blocked;
  bool at_end = false;
};

Direct& direct_of(BIO* bio) {
  return *static_cast<Direct*>(BIO_get_data(bio));
}

template <typename Try>
int move_bytes(BIO* bio, Interest interest, Try attempt) {
  Direct& direct = direct_of(bio);
  BIO_clear_retry_flags(bio);
  for (;;) {
    const IoResult io = attempt(direct.transport);
    switch (io.kind) {
      case IoResult::Kind::kBytes:
        return static_cast<int>(io.bytes);
      case IoResult::Kind::kEnd:
        direct.at_end = true;
        return 0;
      case IoResult::Kind::kFailed:
        errno = io.sys_errno;
        return -1;
      case IoResult::Kind::kWouldBlock:
        break;
    }
    if (direct.when_blocked == WhenBlocked::kRefuse ||
        direct.transport.wait(interest, this_fiber::after(std::chrono::seconds(1))) !=
            Wake::kReady) {
      BIO_set_flags(bio, BIO_FLAGS_SHOULD_RETRY |
                             (interest == Interest::kRead ? BIO_FLAGS_READ : BIO_FLAGS_WRITE));
      return -1;
    }
  }
}

int direct_read(BIO* bio, char* into, int size) {
  const auto bytes = std::as_writable_bytes(std::span(into, static_cast<std::size_t>(size)));
  return move_bytes(bio, Interest::kRead, [&](Transport& from) { return from.try_read(bytes); });
}

int direct_write(BIO* bio, const char* from, int size) {
  const auto bytes = std::as_bytes(std::span(from, static_cast<std::size_t>(size)));
  return move_bytes(bio, Interest::kWrite, [&](Transport& to) { return to.try_write(bytes); });
}

long direct_ctrl(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  if (command == BIO_CTRL_FLUSH) return 1;
  return command == BIO_CTRL_EOF && direct_of(bio).at_end ? 1 : 0;
}

int direct_create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

int direct_destroy(BIO* bio) {
  delete static_cast<Direct*>(BIO_get_data(bio));
  return 1;
}

const BIO_METHOD* direct_method() {
  static const openssl::BioMethodPtr method = [] {
    openssl::BioMethodPtr made(
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "direct transport"));
    BIO_meth_set_read(made.get(), direct_read);
    BIO_meth_set_write(made.get(), direct_write);
    BIO_meth_set_ctrl(made.get(), direct_ctrl);
    BIO_meth_set_create(made.get(), direct_create);
    BIO_meth_set_destroy(made.get(), direct_destroy);
    return made;
  }();
  return method.get();
}

}  // namespace

openssl::BioPtr make_direct_bio(Transport& transport, WhenBlocked when_blocked) {
  openssl::BioPtr bio(BIO_new(direct_method()));
  HEDDLE_ASSERT(bio);
  BIO_set_data(bio.get(), new Direct{transport, when_blocked});
  return bio;
}

std::unique_ptr<RawEngine> make_raw_engine(const Context& context, Transport& transport,
                                           WhenBlocked when_blocked) {
  openssl::SslPtr ssl(SSL_new(context.native_handle()));
  HEDDLE_ASSERT(ssl);
  if (context.role() == Role::kServer) {
    SSL_set_accept_state(ssl.get());
  } else {
    SSL_set_connect_state(ssl.get());
  }
  return std::make_unique<RawEngine>(std::move(ssl), make_direct_bio(transport, when_blocked));
}

void leave_entry(Leak leak) {
  if (leak == Leak::kSystem) {
    HEDDLE_ASSERT(BIO_new_file("/nonexistent/heddle", "r") == nullptr);
    return;
  }
  const openssl::BioPtr junk(BIO_new_mem_buf("not PEM", -1));
  HEDDLE_ASSERT(PEM_read_bio_X509(junk.get(), nullptr, nullptr, nullptr) == nullptr);
}

}  // namespace heddle::test
