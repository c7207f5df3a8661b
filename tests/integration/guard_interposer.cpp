// Preloaded beside the guard: puts something before OpenSSL's functions, as tracers and wrappers of
// sockets do, and is no OpenSSL.
#include <sys/types.h>

#include <string_view>

#include <dlfcn.h>
#include <unistd.h>

namespace {

template <typename Function>
Function* next(const char* name, std::string_view told) {
  (void)!write(STDOUT_FILENO, told.data(), told.size());
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {
#pragma GCC visibility push(default)

int SSL_read(void* ssl, void* buffer, int size) {
  static auto* const real = next<int(void*, void*, int)>("SSL_read", "read ");
  return real(ssl, buffer, size);
}

int SSL_get_error(const void* ssl, int result) {
  static auto* const real = next<int(const void*, int)>("SSL_get_error", "asked");
  return real(ssl, result);
}

#pragma GCC visibility pop
}
