// SigpipeHeld: a system call that raises SIGPIPE and knows no MSG_NOSIGNAL.
#pragma once

#include <cerrno>
#include <csignal>
#include <ctime>

namespace heddle {

// While it lives, SIGPIPE does not reach the calling thread; what the calls inside raise is
// dropped. The kernel may raise it and yet return success. A fiber must not park meanwhile: the
// mask is the thread's.
class SigpipeHeld {
 public:
  SigpipeHeld() {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    // One that is pending already is the program's, and must not be taken away.
    if (sigismember(&pending, SIGPIPE) == 1) sigemptyset(&sigpipe_);
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  SigpipeHeld(const SigpipeHeld&) = delete;
  SigpipeHeld& operator=(const SigpipeHeld&) = delete;
  ~SigpipeHeld() {
    const timespec at_once{};
    while (sigtimedwait(&sigpipe_, nullptr, &at_once) > 0 || errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t sigpipe_{};
  sigset_t before_{};
};

}  // namespace heddle
