// Sessions that are older than they are.
#pragma once

#include <ctime>

#include <openssl/ssl.h>

namespace heddle::test {

// Has `session` begun `age` seconds ago.
inline void set_age(SSL_SESSION* session, long age) {
  const std::time_t begun = std::time(nullptr) - age;
#if OPENSSL_VERSION_NUMBER < 0x30300000L
  (void)SSL_SESSION_set_time(session, static_cast<long>(begun));
#else
  (void)SSL_SESSION_set_time_ex(session, begun);
#endif
}

}  // namespace heddle::test
