// The filter, see switch_bio.h.
#include "stale/switch_bio.h"

#include <cerrno>
#include <utility>

#include <poll.h>

#include "openssl/handles.h"
#include "stale/materials.h"

namespace heddle::stale {
namespace {

SwitchBioHooks& hooks_of(BIO* bio) {
  return *static_cast<SwitchBioHooks*>(BIO_get_data(bio));
}

bool has_room(int socket) {
  pollfd descriptor{.fd = socket, .events = POLLOUT, .revents = 0};
  return poll(&descriptor, 1, 0) > 0;
}

int filter_read(BIO* bio, char* into, int size) {
  if (auto& hook = hooks_of(bio).before_read) std::exchange(hook, nullptr)();
  BIO_clear_retry_flags(bio);
  const int got = BIO_read(BIO_next(bio), into, size);
  const int saved_errno = errno;
  BIO_copy_next_retry(bio);
  errno = saved_errno;
  return got;
}

int filter_write(BIO* bio, const char* from, int size) {
  const SwitchBioHooks& hooks = hooks_of(bio);
  if (hooks.before_write) hooks.before_write();
  BIO_clear_retry_flags(bio);
  if (hooks.refuse_when_full >= 0 && !has_room(hooks.refuse_when_full)) {
    BIO_set_retry_write(bio);
    return -1;
  }
  const int put = BIO_write(BIO_next(bio), from, size);
  const int saved_errno = errno;
  BIO_copy_next_retry(bio);
  errno = saved_errno;
  return put;
}

long filter_ctrl(BIO* bio, int command, long number, void* pointer) {
  BIO* const next = BIO_next(bio);
  return next != nullptr ? BIO_ctrl(next, command, number, pointer) : 0;
}

int filter_create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

const BIO_METHOD* filter_method() {
  static const openssl::BioMethodPtr method = [] {
    openssl::BioMethodPtr made(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "switch"));
    require(made && BIO_meth_set_read(made.get(), filter_read) == 1 &&
                BIO_meth_set_write(made.get(), filter_write) == 1 &&
                BIO_meth_set_ctrl(made.get(), filter_ctrl) == 1 &&
                BIO_meth_set_create(made.get(), filter_create) == 1,
            "no BIO method");
    return made;
  }();
  return method.get();
}

}  // namespace

void push_switch_bio(SSL* ssl, SwitchBioHooks& hooks) {
  BIO* const filter = BIO_new(filter_method());
  require(filter != nullptr, "no BIO");
  BIO_set_data(filter, &hooks);
  BIO* const below = SSL_get_rbio(ssl);
  BIO_up_ref(below);  // The chain's share.
  BIO_push(filter, below);
  SSL_set_bio(ssl, filter, filter);  // Owns the chain.
}

}  // namespace heddle::stale
