// A stack overflow that names its fiber, instead of a bare SIGSEGV.
#pragma once

namespace heddle::fiber {

// Installs the process's SIGSEGV and SIGBUS handler, once, and a signal stack for
// the calling thread if it has none.
void watch_for_stack_overflow() noexcept;

}  // namespace heddle::fiber
