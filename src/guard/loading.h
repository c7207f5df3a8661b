// dlopen() and dlmopen(), put before libc's, so that what a program loads does not pass by the
// guard.
#pragma once

namespace heddle::guard {

// True if the program has loaded a library into a namespace of its own, where the guard is not.
bool used_other_namespaces();

}  // namespace heddle::guard
