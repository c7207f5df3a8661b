// Ending a connection without a reset that would destroy what is in flight.
#pragma once

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/transport.h"

namespace heddle {

// Ends the writing side, then reads and drops what the peer still sends until its
// end. Closing a TCP socket with unread data, or data arriving after the close,
// would send a reset, and a reset makes the peer's kernel drop what it has
// received but not read. Gives up at `deadline` or, if there is none, after a mebibyte: no peer
// may hold a connection by sending for ever.
Result<void> finish_and_drain(Transport& transport, Deadline deadline);

}  // namespace heddle
