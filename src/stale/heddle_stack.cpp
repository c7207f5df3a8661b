// This library under its own harness.
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include <openssl/ssl.h>
#include <poll.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"

#include "base/unique_fd.h"
#include "stale/fiber_stack.h"

namespace heddle::stale {
namespace {

// Waits by letting the others run, so that nothing depends on when the kernel reports an event. A
// deadline means not to wait at all.
class DescriptorTransport final : public Transport {
 public:
  explicit DescriptorTransport(int descriptor) : socket_(descriptor) {}

  IoResult try_read(std::span<std::byte> into) noexcept override {
    const ssize_t got = recv(socket_.get(), into.data(), into.size(), 0);
    if (got == 0) return {.kind = IoResult::Kind::kEnd};
    return result(got);
  }

  IoResult try_write(std::span<const std::byte> from) noexcept override {
    return result(send(socket_.get(), from.data(), from.size(), MSG_NOSIGNAL));
  }

  Wake wait(Interest interest, Deadline deadline) override {
    if (deadline != Deadline::never()) return Wake::kTimedOut;
    short events = POLLIN;
    if (interest == Interest::kWrite) events = POLLOUT;
    if (interest == Interest::kReadOrWrite) events = POLLIN | POLLOUT;
    for (;;) {
      pollfd descriptor{.fd = socket_.get(), .events = events, .revents = 0};
      if (poll(&descriptor, 1, 0) > 0) return Wake::kReady;
      if (!this_fiber::yield()) return Wake::kCancelled;
    }
  }

 private:
  static IoResult result(ssize_t moved) noexcept {
    if (moved >= 0)
      return {.kind = IoResult::Kind::kBytes, .bytes = static_cast<std::size_t>(moved)};
    const int failed = errno;
    if (failed == EAGAIN) return {.kind = IoResult::Kind::kWouldBlock};
    return {.kind = IoResult::Kind::kFailed, .sys_errno = failed};
  }

  UniqueFd socket_;
};

Deadline deadline_of(Patience patience) {
  return patience == Patience::kForever ? Deadline::never() : Deadline::at(TimePoint{});
}

Outcome outcome_of(const Error& error) {
  switch (error.code) {
    case Errc::kTimedOut:
      return {Answer::kWaiting, 0, ""};
    case Errc::kDisconnected:
    case Errc::kTruncated:
      return {Answer::kTransportFailed, 0, error.message()};
    case Errc::kUntrusted:
      return {Answer::kUntrusted, 0, error.message()};
    default:
      return {Answer::kTlsFailed, 0, error.message()};
  }
}

Outcome outcome_of(const Result<void>& done) {
  return done ? Outcome{} : outcome_of(done.error());
}

Outcome outcome_of(const Result<std::size_t>& read) {
  if (!read) return outcome_of(read.error());
  return {*read == 0 ? Answer::kEnd : Answer::kDone, *read, ""};
}

class StreamConnection final : public StackConnection {
 public:
  explicit StreamConnection(Stream stream) : stream_(std::move(stream)) {}

  Outcome handshake() override { return outcome_of(stream_.handshake(Deadline::never())); }
  Outcome read(std::span<std::byte> into, Patience patience) override {
    return outcome_of(stream_.read(into, deadline_of(patience)));
  }
  Outcome peek(std::span<std::byte> into) override {
    return outcome_of(stream_.peek(into, deadline_of(Patience::kNone)));
  }
  Outcome write(std::span<const std::byte> from) override {
    return outcome_of(stream_.write(from, Deadline::never()));
  }
  Outcome shutdown() override {
    const Result<void> sent = stream_.shutdown_write(Deadline::never());
    std::array<std::byte, 16> into{};
    return sent ? read(into, Patience::kNone) : outcome_of(sent);
  }
  SSL* native_handle() noexcept override { return stream_.native_handle(); }

 private:
  Stream stream_;
};

Context make_context(const Endpoint& endpoint) {
  if (endpoint.role == Role::kServer) {
    Context context = Context::create(Role::kServer).value();
    context.use_cert_chain(endpoint.chain_pem, endpoint.key_pem).value();
    return context;
  }
  Context context = Context::create(Role::kClient, Trust::kNothing).value();
  if (!endpoint.trusted_pem.empty()) {
    context.add_trusted_certificates(std::as_bytes(std::span(endpoint.trusted_pem))).value();
  }
  return context;
}

class HeddleStack final : public FiberStack {
 public:
  using FiberStack::FiberStack;

  std::string_view name() const override { return name_of(claims()); }

  std::unique_ptr<StackConnection> connect(const Endpoint& endpoint) override {
    auto transport = std::make_unique<DescriptorTransport>(endpoint.descriptor);
    return std::make_unique<StreamConnection>(
        Stream::create(make_context(endpoint), std::move(transport),
                       {.server_name = std::string(endpoint.server_name)})
            .value());
  }
};

}  // namespace

std::unique_ptr<Stack> make_heddle_stack(Isolation isolation) {
  return std::make_unique<HeddleStack>(isolation);
}

}  // namespace heddle::stale
