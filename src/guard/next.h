// The definition that the program would use without the guard: libc's, or another preloaded
// library's.
#pragma once

#include <dlfcn.h>

namespace heddle::guard {

// Looks for `name` in the objects behind this one. Takes the dynamic linker's lock, so not after a
// fork, when a thread that is no longer there may hold it.
template <typename Function>
Function* next_definition(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace heddle::guard
