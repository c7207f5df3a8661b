// Listener: accepts TCP and Unix stream connections.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "heddle/address.h"
#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/socket.h"

namespace heddle {

struct ListenOptions {
  int backlog = 4096;       // Capped by net.core.somaxconn.
  bool reuse_port = false;  // SO_REUSEPORT: one listener per runtime on one port.
};

// Listener owns a listening socket.
//
// Fibers:   one fiber accepts at a time.
// Threads:  the runtime's thread.
// Lifetime: as Socket. A Unix path that create() made is removed at destruction.
class Listener {
 public:
  // Binds and listens; port 0 takes any free port. Fails with kInvalid (the
  // address is in use or not ours, no right to bind) or kExhausted. A Unix path
  // that nobody listens on any more is replaced.
  static Result<std::unique_ptr<Listener>> create(Runtime& runtime, const Address& address,
                                                  ListenOptions options = {});

  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();

  // Takes the next connection; parks if there is none, and yields now and then so
  // that a flood of connections does not starve those that are being served.
  // Connections that died in the backlog are skipped.
  //
  // Fails with kTimedOut, kCancelled, or kExhausted (no descriptors, no memory).
  // In the last case it has waited, longer each time, up to a second: just call
  // again. Connections stay in the backlog meanwhile.
  Result<std::unique_ptr<Socket>> accept(Deadline deadline);

  // The address in fact bound, with the port that was given for 0.
  Address address() const;

 private:
  explicit Listener(std::unique_ptr<io::Pollable> pollable, Address address);

  Wake await_connection(Deadline deadline);
  Error back_off(Deadline deadline, int sys_errno);

  std::unique_ptr<io::Pollable> pollable_;
  Address address_;
  std::uint64_t inode_ = 0;  // Of the Unix path: another may have taken it since.
  int accepted_in_row_ = 0;
  Duration backoff_{};
};

// Accepts connections until the calling fiber is cancelled, and runs `handler` for
// each in a fiber of its own; returns once all of these have ended, and then throws
// the first exception that a handler threw. When descriptors or stacks
// run out it waits and goes on. Parks.
void serve(Listener& listener, const std::function<void(std::unique_ptr<Socket>)>& handler);

}  // namespace heddle
