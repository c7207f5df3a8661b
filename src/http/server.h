// Server: accepts connections on one listener and serves a site on each of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"
#include "heddle/wait_queue.h"

#include "http/connection.h"
#include "http/site.h"

namespace heddle::http {

// The detail of an Error that says that no more connections may be open.
inline constexpr const char* kConnectionLimit = "connection limit";

struct ServerOptions {
  Timeouts timeouts;

  // When so many are open, the one that has waited longest for its next request, or in
  // its handshake, gives way to the next one; if all are being answered, others wait in
  // the listener's backlog. 0: as many as there are descriptors for.
  std::size_t max_connections = 0;

  // How long requests that are being answered may take once stop() was called.
  Duration grace = std::chrono::seconds(7);

  // Called when connections have to wait, or are ended, for want of descriptors, memory or
  // room: once when that begins, and again only if it has been over and ten seconds have
  // passed. Must not throw: there may be no memory to say so with.
  std::function<void(const Error&)> on_exhausted;

  // Called after each request.
  std::function<void(const AccessRecord&)> on_request;

  // Called after each handshake that failed, with the peer's address.
  std::function<void(std::string_view peer, const Error&)> on_handshake_failed;
};

struct ServerStats {
  std::uint64_t connections = 0;  // Accepted.
  std::uint64_t requests = 0;
  std::array<std::uint64_t, 10> handshakes_failed{};  // By Errc.
};

// Server serves until it is told to stop.
//
// Fibers:   one calls run(); stop() may be called from any, and from outside fibers.
// Threads:  the runtime's thread. For more threads, make one per runtime.
// Lifetime: what it is given must outlive it. It must not be destroyed during run().
class Server {
 public:
  Server(Listener listener, const Context& context, const Site& site, ServerOptions options);

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  // Accepts and serves until stop() or until the calling fiber is cancelled. Then the
  // listener and idle connections are closed, requests are finished within the grace
  // period, and the rest is cancelled. Fails with what the listener failed with. Parks
  // until the last connection is closed. Precondition: not called before.
  Result<void> run();

  // Makes run() return, soon.
  void stop();

  std::size_t open_connections() const noexcept { return sessions_.size(); }
  ServerStats stats() const noexcept;

 private:
  struct Session;
  using Position = std::list<Session>::iterator;

  void accept_all(Scope& fibers);
  Result<void> make_room();
  bool ask_longest_to_leave();
  Result<Socket> accept();
  void start(Scope& fibers, Socket socket);
  Result<void> try_start(Scope& fibers, Socket socket);
  Result<Task<void>> spawn(Scope& fibers, Position session);
  void serve(Session& session);
  void finish(Position session);
  void drain(Scope& fibers);
  void report_exhausted(const Error& error) noexcept;

  std::optional<Listener> listener_;  // Until run() drains.
  const Context& context_;
  ServerOptions options_;
  ConnectionShared shared_;
  std::list<Session> sessions_;
  WaitQueue finished_;  // Whoever waits for a session to be over.
  WaitQueue stopped_{"to be stopped"};
  bool stopping_ = false;
  std::optional<Error> failure_;
  bool exhausted_ = false;
  std::optional<TimePoint> reported_;  // The last report of an exhaustion.
  ServerStats stats_;
};

}  // namespace heddle::http
