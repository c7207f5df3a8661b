// A filter BIO on top of a connection's own: a switch to another fiber can be made to happen inside
// OpenSSL's reads and writes.
#pragma once

#include <functional>

#include <openssl/ssl.h>

namespace heddle::stale {

struct SwitchBioHooks {
  std::function<void()> before_read;   // Called once, at the next read.
  std::function<void()> before_write;  // Called at every write.
  int refuse_when_full = -1;           // Not -1: refuse to write while this socket has no room.
};

// Puts the filter over what `ssl` reads and writes. `hooks` must outlive `ssl`. Not while a
// handshake is going on: OpenSSL has a buffer of its own in the chain then.
void push_switch_bio(SSL* ssl, SwitchBioHooks& hooks);

}  // namespace heddle::stale
