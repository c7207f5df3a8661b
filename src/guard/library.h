// The OpenSSL that a call is meant for. A process may hold several, under several names.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "guard/calls.h"
#include "guard/elf.h"

namespace heddle::guard {

using EntryPoint = void (*)();

// A libssl and the libcrypto that it uses.
struct Library {
  Object object;
  bool watched = false;  // False: its calls are passed on, and that is all.
  // What the program's calls are passed on to: null if this version does not have it. It may be
  // another preloaded library's, which calls OpenSSL's in turn.
  std::array<EntryPoint, kCallCount> calls{};

  decltype(&ERR_peek_error) peek_error = nullptr;
  decltype(&ERR_clear_error) clear_error = nullptr;
  decltype(&ERR_peek_error_all) peek_error_all = nullptr;
  decltype(&ERR_peek_last_error_all) peek_last_error_all = nullptr;
  decltype(&ERR_lib_error_string) lib_error_string = nullptr;
  decltype(&ERR_reason_error_string) reason_error_string = nullptr;
  void* (*get_state)() = nullptr;  // ERR_get_state() of OpenSSL 3, else null.

  // SSL_get_error() looks at the oldest entry first: up to OpenSSL 3, and no longer in 4.
  bool entries_come_first = false;
  decltype(&SSL_get_error) get_error = nullptr;
  decltype(&SSL_state_string) state_string = nullptr;
  decltype(&SSL_get_shutdown) get_shutdown = nullptr;
  decltype(&SSL_want) want = nullptr;
  decltype(&SSL_get_rbio) get_rbio = nullptr;
  decltype(&SSL_get_wbio) get_wbio = nullptr;
  decltype(&BIO_test_flags) bio_test_flags = nullptr;

  // For reports; each may be null.
  decltype(&SSL_get_rfd) get_rfd = nullptr;
  decltype(&SSL_get_servername) get_servername = nullptr;
  decltype(&SSL_get_version) get_version = nullptr;
  decltype(&SSL_is_server) is_server = nullptr;
  decltype(&SSL_state_string_long) state_string_long = nullptr;

  // Tells by a word near the head of an SSL object: there is a pointer to its SSL_METHOD, a table
  // within its own libssl. It is the second word up to OpenSSL 3.1 and the third and fourth since.
  [[nodiscard]] bool owns(const SSL* ssl) const {
    const auto* words = reinterpret_cast<const std::uintptr_t*>(ssl);
    return object.contains(words[1]) || object.contains(words[2]) || object.contains(words[3]);
  }
};

// The library that made `ssl`, or else the one that the code at `site` was linked with. If neither
// can be told, one without any entry points. The result is only good for the call at hand.
const Library& find_library(const SSL* ssl, const void* site);

// True if `object` is a libssl, or has one inside, and does not only put something before its
// functions.
bool is_openssl(const Object& object);

// The address of `name` in `object`, or else in what that is linked with; or null.
void* find_below(const Object& object, const char* name);

// The function `name` that the code at `site` would find without the guard; or null.
void* find_for_caller(const void* site, const char* name);

// Prepares for the libraries that are there already, so that their first call is as good as others.
void find_loaded_libraries();

// The library of the last call: nearly always the right one.
// NOLINTNEXTLINE(bugprone-dynamic-static-initializers): it is a constant null at first.
extern const Library* last_library;

// Lets the next call go to find_library().
void forget_last_library();

inline const Library& library_of(const SSL* ssl, const void* site) {
  const Library* last = __atomic_load_n(&last_library, __ATOMIC_ACQUIRE);
  if (last != nullptr && ssl != nullptr && last->owns(ssl)) [[likely]] {
    return *last;
  }
  return find_library(ssl, site);
}

// True if a call that has failed only asks to be repeated when the socket is ready. Also true if
// such a call came before and this one was refused, or if the connection is dead and its alert
// waits to be sent: see verdict.h.
bool only_wants_to_be_repeated(const Library& library, const SSL* ssl);

}  // namespace heddle::guard
