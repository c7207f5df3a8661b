// Which process this is, without asking the kernel each time.
#pragma once

#include <sys/types.h>

namespace heddle::guard {

// A child that was made by a bare clone(), of which nobody is told, counts as its parent.
pid_t own_process();

// In a forked child.
void forget_own_process();

}  // namespace heddle::guard
