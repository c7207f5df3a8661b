// wait_descriptor(): waits for a descriptor that other code owns. DescriptorSource reads from one.
#pragma once

#include <cstddef>
#include <span>

#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/transport.h"

namespace heddle {

// Parks until `descriptor` can be read from or written to, as `interest` asks, and returns which of
// the two is worth trying: kRead, kWrite, or both. An end, an error or a hang-up counts as both,
// since an attempt shows which it is. Returns at once if the descriptor is ready already; a regular
// file always is (poll(2)).
//
// For descriptors that belong to other code, which may close them and reuse their numbers at any
// time between two calls: libpq's (PQsocket()), inotify, eventfd, pipes, terminals. The descriptor
// is neither changed nor kept, and may be blocking or not. It must not be that of a Socket, which
// has a wait() of its own that knows more.
//
// While it waits it holds a duplicate of the descriptor (dup(2)). So if the owner closes the
// descriptor meanwhile, the wait goes on, and the open file is closed when it ends.
//
// Costs one system call if it need not wait, and six if it must.
//
// Fibers:   any number may wait for one descriptor at the same time, to read or to write; an event
//   wakes all that it concerns.
// Threads:  the thread of a runtime.
// Errors:   kTimedOut, kCancelled; kInvalid (EBADF) if there is no such descriptor; kExhausted if
//   the process may not have another one, or the kernel watches no more
//   (fs.epoll.max_user_watches).
HEDDLE_API Result<Interest> wait_descriptor(int descriptor, Interest interest, Deadline deadline);

// DescriptorSource reads standard input, a pipe or a terminal as a ByteSource, for example for a
// BufferedReader. Like wait_descriptor(), it does not change the descriptor, which may be blocking
// and still belongs to its owner. If another process reads from the same pipe or terminal and takes
// what had come, read() of a blocking descriptor blocks the thread.
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
