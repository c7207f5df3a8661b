// A library with functions of OpenSSL's names, and an SSL of its own that begins as OpenSSL's does,
// with a pointer to a table of methods: a second OpenSSL in the process.
#include <array>
#include <cstdint>

namespace {

struct Methods {
  int number;
};
Methods methods{.number = 47};

struct Ssl {
  int version = 0;
  Methods* method = &methods;
  std::array<std::uintptr_t, 2> rest{};
};

}  // namespace

extern "C" {
#pragma GCC visibility push(default)

void* SSL_new(void*) {
  return new Ssl;
}

void SSL_free(void* ssl) {
  delete static_cast<Ssl*>(ssl);
}

int SSL_read(void* ssl, void*, int) {
  return static_cast<Ssl*>(ssl)->method->number;
}

#pragma GCC visibility pop
}
