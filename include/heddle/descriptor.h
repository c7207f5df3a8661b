// wait_descriptor(): waits for a descriptor that other code owns. DescriptorSource reads from one.
#pragma once

#include <cstddef>
#include <span>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/transport.h"

namespace heddle {

// Parks until `descriptor` can be read from or written to, whichever `interest` asks for, and
// returns what of that is worth trying: kRead, kWrite, or both. An end, an error or a hang-up count
// as both, since trying tells. Returns at once if it is so already; a regular file always is
// (poll(2)).
//
// For descriptors that belong to other code, which may close them and use their numbers again
// whenever it likes, between two calls: libpq's (PQsocket()), inotify, eventfd, pipes, terminals.
// Nothing of the descriptor is changed or kept; it may be blocking or not. It must not be a
// Socket's, which has its own wait(), and which knows more.
//
// While it waits it holds a duplicate of the descriptor (dup(2)). So if the owner closes the
// descriptor meanwhile, what it refers to is closed when the wait ends, and the wait goes on.
//
// Costs one system call if it need not wait, and six if it must.
//
// Fibers:   any number may wait for one descriptor at a time, for the same thing or not; an event
//   wakes all that it concerns.
// Threads:  the thread of a runtime.
// Errors:   kTimedOut, kCancelled; kInvalid (EBADF) if there is no such descriptor; kExhausted if
//   the process may not have another one, or the kernel watches no more
//   (fs.epoll.max_user_watches).
HEDDLE_API Result<Interest> wait_descriptor(int descriptor, Interest interest, Deadline deadline);

// DescriptorSource is standard input, a pipe or a terminal as a ByteSource: for a BufferedReader,
// say. As wait_descriptor(), it changes nothing of the descriptor, which may be blocking and stays
// its owner's. If another process reads from the same one, and takes what had come, a read() of a
// blocking descriptor holds up the thread.
class HEDDLE_API DescriptorSource {
 public:
  explicit DescriptorSource(int descriptor) noexcept : descriptor_(descriptor) {}

  // Reads at least one byte and at most `into.size()`; 0 at the end, and if `into` is empty. Fails
  // as wait_descriptor() does, with kInvalid if read(2) says that this descriptor cannot be read
  // (EBADF, EISDIR, EINVAL), and with kDisconnected if it fails otherwise. Parks.
  Result<std::size_t> read(std::span<std::byte> into, Deadline deadline);

 private:
  int descriptor_;
};

}  // namespace heddle
