// The accept loop, and how it ends.
#include <cstddef>
#include <exception>
#include <utility>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/signals.h"
#include "heddle/wait_queue.h"

#include "fiber/user_code.h"

namespace heddle::detail {
namespace {

// Acceptor is one call of serve().
class Acceptor {
 public:
  Acceptor(Listener& listener, const Handler& handler, const ServeOptions& options)
      : listener_(listener), handler_{handler}, options_(options) {}

  void run() {
    scope([this](Scope& connections) {
      accept_all(connections);
      listener_.close();
      if (options_.grace > Duration::zero()) drain(connections);
      connections.cancel();
    });
  }

 private:
  void drain(Scope& connections) {
    const auto join = [&] { return connections.join(this_fiber::after(options_.grace)); };
    // If it is not cancelled, the listener was closed, and cancelling ends the grace.
    (void)(this_fiber::cancelled() ? this_fiber::shielded(join) : join());
  }

  void accept_all(Scope& connections) {
    while (has_room()) {
      auto socket = listener_.accept(Deadline::never());
      if (socket) {
        start(connections, *std::move(socket));
      } else if (is_end(socket.error())) {
        return;
      } else {
        tell(socket.error());  // accept() has waited.
      }
    }
  }

  static bool is_end(const Error& error) {
    return error.code == Errc::kCancelled || error.code == Errc::kDisconnected;
  }

  // Parks until there is. False: the fiber is cancelled.
  bool has_room() {
    const std::size_t most = options_.connections_max;
    while (most != 0 && open_ >= most) {
      if (ended_.wait(Deadline::never()) == Wake::kCancelled) return false;
    }
    return true;
  }

  void start(Scope& connections, Socket socket) {
    const auto started = connections.spawn(
        "connection", [this, mine = std::move(socket)]() mutable { handle(std::move(mine)); });
    if (!started) return tell(started.error());  // The connection is closed by now.
    ++open_;
  }

  void handle(Socket socket) {
    const Ending ending(*this);
    try {
      const Result<void> handled = fiber::call_user(handler_, std::move(socket));
      if (!handled) tell(handled.error());
      // tidy: told at once, or else as before.
    } catch (...) {
      if (!options_.on_exception) throw;
      fiber::call_user(options_.on_exception, std::current_exception());
    }
  }

  void tell(const Error& error) {
    if (options_.on_error) fiber::call_user(options_.on_error, error);
  }

  class Ending {
   public:
    explicit Ending(Acceptor& acceptor) noexcept : acceptor_(acceptor) {}
    Ending(const Ending&) = delete;
    Ending& operator=(const Ending&) = delete;
    ~Ending() {
      --acceptor_.open_;
      acceptor_.ended_.wake_all();
    }

   private:
    Acceptor& acceptor_;
  };

  Listener& listener_;
  const Handler& handler_;
  const ServeOptions& options_;
  std::size_t open_ = 0;
  WaitQueue ended_{"for a connection to end"};  // The acceptor, when there is no room.
};

}  // namespace

void serve(Listener& listener, const Handler& handler, const ServeOptions& options) {
  Acceptor(listener, handler, options).run();
}

Result<int> serve_until(Signals signals, Listener& listener, const Handler& handler,
                        const ServeOptions& options) {
  Result<int> outcome = Error{
      .code = Errc::kDisconnected, .operation = "serve_until", .detail = "the listener was closed"};
  scope([&](Scope& fibers) {
    auto serving = fibers.spawn("serve", [&] { serve(listener, handler, options); });
    if (!serving) {
      outcome = serving.error();
      return;
    }
    // What it owns ends with its fiber: from then on signals do what they did before.
    auto stop = [&outcome, server = *serving, mine = std::move(signals)]() mutable {
      const Result<int> signal = mine.wait(Deadline::never());
      if (!signal) return;
      outcome = *signal;
      server.cancel();
    };
    auto waiting = fibers.spawn("signals", std::move(stop));
    if (!waiting) {
      outcome = waiting.error();
      fibers.cancel();
      return;
    }
    const Result<void> served = serving->join();
    if (!served && !outcome) outcome = served.error();
    waiting->cancel();
  });
  return outcome;
}

}  // namespace heddle::detail
