// Listener: accepts TCP and Unix stream connections.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "heddle/address.h"
#include "heddle/deadline.h"
#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/signals.h"
#include "heddle/socket.h"

namespace heddle {

namespace io {
class ListenerFactory;
}  // namespace io

struct ListenOptions {
  int backlog = 4096;       // Capped by net.core.somaxconn.
  bool reuse_port = false;  // SO_REUSEPORT: one listener per runtime on one port.

  // For accepted connections, as in ConnectOptions. Values that the kernel rejects fail with
  // kInvalid, and so does any value for a Unix path.
  std::optional<KeepAlive> keep_alive{};
  Duration user_timeout = Duration::zero();
};

// Listener owns a listening socket.
//
// Fibers:   one fiber accepts at a time.
// Threads:  the runtime's thread.
// Moving:   as Runtime.
// Lifetime: as Socket. A Unix path that create() made is removed at destruction.
class HEDDLE_API Listener {
 public:
  // Binds and listens; port 0 takes any free port. Fails with kInvalid (the address is in use or
  // not of this machine, or the process may not bind it) or kExhausted; the address is the error's
  // context. A Unix path that nobody listens on any more is replaced.
  static Result<Listener> create(Runtime& runtime, const Address& address,
                                 ListenOptions options = {});

  // Takes over a socket that listens already: from systemd (sd_listen_fds(3)), or from a parent
  // process. Makes it non-blocking. Fails with kInvalid if it is not a stream socket that listens
  // (SO_ACCEPTCONN), and with kExhausted when epoll cannot watch it; `descriptor` is closed in
  // either case. The path of a Unix socket stays when the listener is destroyed.
  static Result<Listener> adopt(Runtime& runtime, int descriptor);

  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener();

  // Accepts the next connection; parks if there is none, and yields now and then so that a flood of
  // connections does not starve those that are being served. Connections that died in the backlog
  // are skipped.
  //
  // Fails with kTimedOut, kCancelled, or kExhausted (no descriptors, no memory).
  // In the last case it has waited, longer each time, up to a second: just call
  // again. Connections stay in the backlog meanwhile. After close(): kDisconnected. The
  // listener's address is the error's context.
  Result<Socket> accept(Deadline deadline);

  // Stops listening at once, as destruction does: new connections are refused, so that clients can
  // go elsewhere, and those in the backlog are reset, unless another process has the socket too. A
  // fiber in accept() returns. Does nothing the second time.
  void close() noexcept;

  // Returns the address that was bound, with the port that the kernel chose for 0.
  Address address() const;

 private:
  friend class io::ListenerFactory;
  class State;
  explicit Listener(std::unique_ptr<State> state);
  State& state(const char* call = __builtin_FUNCTION()) const noexcept;

  std::unique_ptr<State> state_;
};

struct ServeOptions {
  // How many connections may be open at a time. Further ones wait in the listener's backlog. 0: as
  // many as there are descriptors and stacks for.
  std::size_t connections_max = 0;

  // How long handlers may go on once serve() is told to stop; those left are then cancelled.
  Duration grace = Duration::zero();

  // Called with each Error that a handler returns, on the handler's fiber, and, on serve()'s own,
  // when a connection could not be accepted or given a fiber (kExhausted; serve() goes on). May be
  // empty.
  std::function<void(const Error& error)> on_error{};

  // Called with each exception that leaves a handler, on the handler's fiber, as it happens. If it
  // is empty, serve() throws the first one once all handlers have ended. What on_exception itself
  // throws, serve() also throws at the end.
  std::function<void(const std::exception_ptr& thrown)> on_exception{};
};

namespace detail {

using Handler = std::function<Result<void>(Socket)>;
HEDDLE_API void serve(Listener& listener, const Handler& handler, const ServeOptions& options);
HEDDLE_API Result<int> serve_until(Signals signals, Listener& listener, const Handler& handler,
                                   const ServeOptions& options);

// Makes one kind of handler of both. `handler` must outlive it.
template <typename Function>
Handler as_handler(Function& handler) {
  if constexpr (std::is_void_v<std::invoke_result_t<Function&, Socket>>) {
    return [&handler](Socket socket) -> Result<void> {
      handler(std::move(socket));
      return {};
    };
  } else {
    return std::ref(handler);
  }
}

}  // namespace detail

// Accepts connections until the calling fiber is cancelled or the listener is closed, and runs
// `handler`, which returns void or Result<void>, for each connection in a fiber of its own.
// Handlers run concurrently. When descriptors or stacks run out, it waits and goes on.
//
// To stop it, cancel its fiber: it closes the listener, gives handlers `options.grace` to finish
// what they do, cancels those that are left, and returns once all have ended. To end it at once,
// also cancel the handlers: Runtime::stop() does, and so does cancelling the scope of a fiber that
// called serve() within scope(). Parks.
template <std::invocable<Socket> Function>
void serve(Listener& listener, Function handler, const ServeOptions& options = {}) {
  detail::serve(listener, detail::as_handler(handler), options);
}

// Does the same until one of `signals` comes, then stops as if its fiber had been cancelled, and
// returns the number of the signal. The Signals end when the first has come, so a second one does
// what it did before they were made: SIGTERM, say, ends the process at once.
//
// Fails with kCancelled if the fiber is cancelled first, with kDisconnected if the listener is
// closed first, and with kExhausted if there are no stacks for the two fibers that it needs; in
// each case all handlers have ended, as with serve(). Parks.
template <std::invocable<Socket> Function>
Result<int> serve_until(Signals signals, Listener& listener, Function handler,
                        const ServeOptions& options = {}) {
  return detail::serve_until(std::move(signals), listener, detail::as_handler(handler), options);
}

}  // namespace heddle
