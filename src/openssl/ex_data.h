// Where we keep things of ours in OpenSSL's objects (CRYPTO_get_ex_new_index(3)).
#pragma once

#include <new>

#include <openssl/crypto.h>

namespace heddle::openssl {

// A place in every object of the class CRYPTO_EX_INDEX_..., to be asked for once. `free_data`, if
// there is one, gets what is there when the object goes. SSL_dup(3) leaves it empty in the copy:
// two would own it, or be taken for one. Throws std::bad_alloc.
inline int new_ex_index(int class_index, CRYPTO_EX_free* free_data = nullptr) {
  const auto drop = [](CRYPTO_EX_DATA* /*to*/, const CRYPTO_EX_DATA* /*from*/, void** data,
                       int /*index*/, long /*number*/, void* /*pointer*/) {
    *data = nullptr;
    return 1;
  };
  const int made = CRYPTO_get_ex_new_index(class_index, 0, nullptr, nullptr, drop, free_data);
  if (made < 0) throw std::bad_alloc();
  return made;
}

}  // namespace heddle::openssl
