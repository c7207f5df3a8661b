// The accept loop, the sessions and how they end: see server.h.
#include "http/server.h"

#include <cerrno>
#include <exception>
#include <new>
#include <optional>
#include <utility>

namespace heddle::http {
namespace {

constexpr Duration kBetweenReports = std::chrono::seconds(10);

Error out_of_memory(const char* operation) {
  return {.code = Errc::kExhausted, .sys_errno = ENOMEM, .operation = operation};
}

}  // namespace

// A connection that is being served, by a fiber of its own.
struct Server::Session : Activity {
  Session(Stream stream_of, std::string peer_of)
      : stream(std::move(stream_of)), peer(std::move(peer_of)) {}

  Stream stream;
  std::string peer;  // Only if something is logged.
  std::optional<Task<void>> task;
};

Server::Server(Listener listener, const Context& context, const Site& site, ServerOptions options)
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
    // Also if this fiber was cancelled; the grace ends it.
    this_fiber::shielded([&] {
      // Who connects from now on is refused and can go elsewhere, instead of waiting.
      if (acceptor->join()) listener_.reset();
      drain(fibers);
    });
    if (failure_) return *failure_;
    return {};
  });
}

void Server::stop() {
  stopping_ = true;
  stopped_.wake_all();
}

void Server::accept_all(Scope& fibers) {
  while (!stopping_) {
    Result<Socket> socket = accept();
    if (socket) {
      if (!make_room()) break;
      exhausted_ = false;
      start(fibers, std::move(*socket));
    } else if (socket.error().code == Errc::kExhausted) {
      report_exhausted(socket.error());  // accept() has waited already.
      ask_longest_to_leave();
    } else {
      if (socket.error().code != Errc::kCancelled) failure_ = socket.error();
      break;
    }
  }
  stop();
}

// A connection that there is no memory for has been closed. That is no reason for others to leave.
Result<Socket> Server::accept() {
  for (;;) {
    try {
      return listener_->accept(Deadline::never());
    } catch (const std::bad_alloc&) {
      report_exhausted(out_of_memory("accept a connection"));
    }
  }
}

// Whether there is one that owes nothing.
bool Server::ask_longest_to_leave() {
  Activity* const longest = shared_.waiting.longest();
  if (longest == nullptr) return false;
  auto& session = static_cast<Session&>(*longest);
  shared_.waiting.enter(session, Phase::kClosing);  // So that it is not asked twice.
  if (session.task) session.task->cancel();
  return true;
}

// For a connection that has been accepted.
Result<void> Server::make_room() {
  while (options_.max_connections != 0 && sessions_.size() >= options_.max_connections) {
    if (!ask_longest_to_leave()) {
      report_exhausted(
          Error{.code = Errc::kExhausted, .operation = "accept", .detail = kConnectionLimit});
    }
    if (finished_.wait(Deadline::never()) == Wake::kCancelled) {
      return Error{.code = Errc::kCancelled, .operation = "accept"};
    }
  }
  return {};
}

void Server::report_exhausted(const Error& error) noexcept {
  if (std::exchange(exhausted_, true) || !options_.on_exhausted) return;
  const TimePoint now = this_fiber::now();
  if (reported_ && now - *reported_ < kBetweenReports) return;
  reported_ = now;
  options_.on_exhausted(error);
}

void Server::start(Scope& fibers, Socket socket) {
  try {
    if (const Result<void> started = try_start(fibers, std::move(socket)); !started) {
      report_exhausted(started.error());
    }
  } catch (const std::bad_alloc&) {
    report_exhausted(out_of_memory("accept a connection"));
  }
}

Result<void> Server::try_start(Scope& fibers, Socket socket) {
  ++stats_.connections;
  std::string peer;
  if (options_.on_request || options_.on_handshake_failed) {
    const Result<Address> address = socket.peer_address();
    peer = address ? address->to_string() : "-";
  }
  Result<Stream> stream = Stream::create(context_, std::move(socket));
  if (!stream) return stream.error();
  sessions_.emplace_front(std::move(*stream), std::move(peer));
  const Position session = sessions_.begin();
  shared_.waiting.enter(*session, Phase::kHandshake);
  Result<Task<void>> task = spawn(fibers, session);
  if (!task) {
    finish(session);
    return task.error();
  }
  session->task = std::move(*task);
  return {};
}

Result<Task<void>> Server::spawn(Scope& fibers, Position session) {
  try {
    return fibers.spawn("connection", [this, session] {
      serve(*session);
      finish(session);
    });
  } catch (const std::bad_alloc&) {
    return out_of_memory("spawn a fiber");
  }
}

void Server::serve(Session& session) {
  try {
    const Result<void> served = serve_connection(session.stream, shared_, session, session.peer);
    if (served) return;
    ++stats_.handshakes_failed.at(static_cast<std::size_t>(served.error().code));
    if (options_.on_handshake_failed) options_.on_handshake_failed(session.peer, served.error());
  } catch (const std::exception&) {
    // Out of memory, for this request: the connection ends, the others go on.
    report_exhausted(out_of_memory("serve a connection"));
  }
}

void Server::finish(Position session) {
  shared_.waiting.enter(*session, Phase::kClosing);
  sessions_.erase(session);
  finished_.wake_all();
}

void Server::drain(Scope& fibers) {
  shared_.draining = true;
  for (Session& session : sessions_) {
    // Those that owe no answer. The others see `draining` after theirs.
    if (owes_nothing(session.phase) && session.task) session.task->cancel();
  }
  const Deadline deadline = this_fiber::after(options_.grace);
  while (!sessions_.empty() && finished_.wait(deadline) == Wake::kReady) {
  }
  fibers.cancel();
}

}  // namespace heddle::http
