// Operations of OpenSSL's that fail, as careless code lets them.
#pragma once

#include <cstdint>

#include "guard/library.h"

namespace heddle::guard {

// Does one of them, by `choice`, and leaves in the queue what that leaves there. Nothing else is
// changed but errno.
void fail_at_something(const Library& library, std::uint64_t choice);

}  // namespace heddle::guard
