// The accept loop, the sessions and how they end: see server.h.
#include "http/server.h"

#include <exception>
#include <utility>

namespace heddle::http {
namespace {

constexpr Duration kBetweenReports = std::chrono::seconds(10);

}  // namespace

// A connection that is being served, by a fiber of its own.
struct Server::Session {
  std::unique_ptr<Stream> stream;
  std::string peer;  // Only if requests are logged.
  Phase phase = Phase::kHandshake;
  std::optional<Task<void>> task;
};

Server::Server(std::unique_ptr<Listener> listener, const Context& context, const Site& site,
               ServerOptions options)
    : listener_(std::move(listener)),
      context_(context),
      options_(std::move(options)),
      shared_(site, options_.timeouts) {
  shared_.on_request = options_.on_request;
}

Server::~Server() = default;

ServerStats Server::stats() const noexcept {
  ServerStats stats = stats_;
  stats.requests = shared_.requests;
  return stats;
}

Result<void> Server::run() {
  return scope([this](Scope& fibers) -> Result<void> {
    Result<Task<void>> acceptor = fibers.spawn("accept", [this, &fibers] { accept_all(fibers); });
    if (!acceptor) return acceptor.error();
    while (!stopping_) {
      if (stopped_.wait(Deadline::never()) == Wake::kCancelled) break;
    }
    acceptor->cancel();
    // Who connects from now on is refused and can go elsewhere, instead of waiting.
    if (acceptor->join()) listener_.reset();
    drain(fibers);
    if (failure_) return *failure_;
    return {};
  });
}

void Server::stop() {
  stopping_ = true;
  stopped_.wake_all();
}

void Server::accept_all(Scope& fibers) {
  while (!stopping_ && wait_for_room()) {
    Result<std::unique_ptr<Socket>> socket = listener_->accept(Deadline::never());
    if (socket) {
      exhausted_ = false;
      start(fibers, std::move(*socket));
    } else if (socket.error().code == Errc::kExhausted) {
      report_exhausted(socket.error());  // accept() has waited already.
    } else {
      if (socket.error().code != Errc::kCancelled) failure_ = socket.error();
      break;
    }
  }
  stop();
}

Result<void> Server::wait_for_room() {
  while (options_.max_connections != 0 && sessions_.size() >= options_.max_connections) {
    report_exhausted(Error{.code = Errc::kExhausted, .operation = "connection limit"});
    if (finished_.wait(Deadline::never()) == Wake::kCancelled) {
      return Error{.code = Errc::kCancelled, .operation = "accept"};
    }
  }
  return {};
}

void Server::report_exhausted(const Error& error) {
  if (std::exchange(exhausted_, true) || !options_.on_exhausted) return;
  const TimePoint now = this_fiber::now();
  if (reported_ && now - *reported_ < kBetweenReports) return;
  reported_ = now;
  options_.on_exhausted(error);
}

void Server::start(Scope& fibers, std::unique_ptr<Socket> socket) try {
  ++stats_.connections;
  std::string peer;
  if (options_.on_request) {
    const Result<Address> address = socket->peer_address();
    peer = address ? address->to_string() : "-";
  }
  Result<std::unique_ptr<Stream>> stream = Stream::create(context_, std::move(socket));
  if (!stream) return report_exhausted(stream.error());
  sessions_.push_front({.stream = std::move(*stream), .peer = std::move(peer)});
  const Position session = sessions_.begin();
  Result<Task<void>> task = fibers.spawn("connection", [this, session] {
    serve(*session);
    finish(session);
  });
  if (task) {
    session->task = std::move(*task);
  } else {
    report_exhausted(task.error());
    sessions_.erase(session);
  }
} catch (const std::exception&) {
  report_exhausted(Error{.code = Errc::kExhausted, .operation = "accept a connection"});
}

void Server::serve(Session& session) {
  try {
    const Result<void> served =
        serve_connection(*session.stream, shared_, session.phase, session.peer);
    if (!served) ++stats_.handshakes_failed.at(static_cast<std::size_t>(served.error().code));
  } catch (const std::exception&) {
    // Out of memory, for this request: the connection ends, the others go on.
    report_exhausted(Error{.code = Errc::kExhausted, .operation = "serve a connection"});
  }
}

void Server::finish(Position session) {
  sessions_.erase(session);
  finished_.wake_all();
}

void Server::drain(Scope& fibers) {
  shared_.draining = true;
  for (Session& session : sessions_) {
    // Those that owe no answer. The others see `draining` after theirs.
    const bool idle = session.phase == Phase::kHandshake || session.phase == Phase::kIdle;
    if (idle && session.task) session.task->cancel();
  }
  const Deadline deadline = this_fiber::after(options_.grace);
  while (!sessions_.empty() && finished_.wait(deadline) == Wake::kReady) {
  }
  fibers.cancel();
}

}  // namespace heddle::http
