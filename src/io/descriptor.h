// Waiting for descriptors that are not ours.
#pragma once

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/transport.h"

#include "io/reactor.h"

namespace heddle::io {

// As heddle::wait_descriptor().
Result<Interest> wait_descriptor(Reactor& reactor, int descriptor, Interest interest,
                                 Deadline deadline);

}  // namespace heddle::io
