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
  std::string configuration = "/etc/resolv.conf";  // Read again whenever it has changed.
  std::uint16_t port = 0;                          // Of the servers in there, instead of 53.
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

  static constexpr std::size_t kAddressesMax = 256;

  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver();

  // Returns the addresses of one family (AF_INET or AF_INET6), at least one and at most
  // kAddressesMax. Fails with kInvalid (no host name, no such name, no address of the family),
  // kUnreachable (the name servers fail or do not answer), kTimedOut, kCancelled.
  Result<std::vector<Address>> resolve(const std::string& host, std::uint16_t port, int family,
                                       Deadline deadline);

  // Of both families, which are asked for at once: IPv6 addresses first. Fails if neither has any,
  // with what says more.
  Result<std::vector<Address>> resolve_all(const std::string& host, std::uint16_t port,
                                           Deadline deadline);

 private:
  struct Request;
  struct Release;

  // What tells one state of the configuration file from another.
  struct Stamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t bytes = 0;
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;

    static Stamp of(const std::string& path) noexcept;
    bool operator==(const Stamp&) const = default;
  };

  Resolver(std::unique_ptr<Pollable> sockets, ResolverOptions options);

  Result<void> configure();
  void ask(const std::string& host, std::uint16_t port, int family, Request* request);

  static void socket_changed(void* resolver, int fd, int readable, int writable);
  Wake wait_for_progress(Deadline deadline);
  void process_ready();
  Deadline next_timeout() const;

  // An epoll instance with c-ares' sockets, itself watched by the reactor.
  std::unique_ptr<Pollable> sockets_;
  const ResolverOptions options_;
  ares_channeldata* channel_ = nullptr;
  Stamp configured_;                // What channel_ was made of.
  fiber::Fiber* driver_ = nullptr;  // Waits for the sockets, for all.
  WaitQueue others_{"for a name server"};
};

}  // namespace heddle::io
