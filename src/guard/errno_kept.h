// errno belongs to the program: OpenSSL and the guard's own system calls must not change what it
// finds there.
#pragma once

#include <cerrno>

namespace heddle::guard {

class ErrnoKept {
 public:
  ErrnoKept() : kept_(errno) {}
  ~ErrnoKept() { errno = kept_; }
  ErrnoKept(const ErrnoKept&) = delete;
  ErrnoKept& operator=(const ErrnoKept&) = delete;

 private:
  int kept_;
};

}  // namespace heddle::guard
