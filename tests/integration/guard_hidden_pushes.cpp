// Before the guard, this takes away what it sees of pushes: as if libcrypto did not call itself by
// way of others.
#include <dlfcn.h>

extern "C" void ERR_set_debug(const char* file, int line, const char* function);

extern "C" void ERR_set_debug(const char* file, int line, const char* function) {
  void* const crypto = dlopen("libcrypto.so.3", RTLD_LAZY | RTLD_NOLOAD);
  using Function = void(const char*, int, const char*);
  reinterpret_cast<Function*>(dlsym(crypto, "ERR_set_debug"))(file, line, function);
}
