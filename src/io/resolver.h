// Resolver: host names to addresses, by c-ares on the reactor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "heddle/address.h"
#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/wait_queue.h"

#include "io/reactor.h"

struct ares_channeldata;

namespace heddle::io {

struct ResolverOptions {
  std::string servers;  // "IP:PORT,..." instead of the system's; for tests.
};

// Resolver asks as the system is configured (hosts file, then DNS). There is no
// fiber of its own: whoever waits first does the work for all.
//
// Fibers:   any number may resolve at a time.
// Lifetime: no fiber may be waiting when it is destroyed.
class Resolver {
 public:
  // Fails with kExhausted, or kInvalid for servers that cannot be parsed.
  static Result<std::unique_ptr<Resolver>> create(Reactor& reactor,
                                                  const ResolverOptions& options = {});

  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver();

  // Returns the addresses of one family (AF_INET or AF_INET6), at least one.
  // Fails with kUnreachable (no such name, no address, server failure), kTimedOut,
  // kCancelled.
  Result<std::vector<Address>> resolve(const std::string& host, std::uint16_t port, int family,
                                       Deadline deadline);

 private:
  struct Request;

  explicit Resolver(std::unique_ptr<Pollable> sockets);

  static void socket_changed(void* resolver, int fd, int readable, int writable);
  Wake wait_for_progress(Deadline deadline);
  void process_ready();
  Deadline next_timeout() const;

  // An epoll instance with c-ares' sockets, itself watched by the reactor.
  std::unique_ptr<Pollable> sockets_;
  ares_channeldata* channel_ = nullptr;
  bool driving_ = false;
  WaitQueue others_;
};

}  // namespace heddle::io
