// A TLS stream below another one: what of it may happen inside a call of OpenSSL, and what waits.
#include "heddle/tls/stream_transport.h"

#include <algorithm>
#include <utility>

#include "fiber/no_park.h"
#include "fiber/user_code.h"
#include "tls/stream_impl.h"

namespace heddle {

// With bytes pending, SSL_read_ex() only copies: no record is read and no callback called.
IoResult Stream::Impl::take(std::span<std::byte> into) {
  if (failure_) return {IoResult::Kind::kFailed, 0, failure_->sys_errno};
  if (engine_.busy() || SSL_pending(engine_.ssl()) <= 0) return {IoResult::Kind::kWouldBlock};
  std::size_t count = 0;
  const tls::Step step = call(
      "SSL_read", [&](SSL* ssl) { return SSL_read_ex(ssl, into.data(), into.size(), &count); });
  switch (step.kind) {
    case tls::Step::Kind::kDone:
      return {IoResult::Kind::kBytes, count};
    case tls::Step::Kind::kEnd:
    case tls::Step::Kind::kWantRead:
    case tls::Step::Kind::kWantWrite:
    case tls::Step::Kind::kAgain:
      return {IoResult::Kind::kWouldBlock};
    case tls::Step::Kind::kFailed:
      break;
  }
  fail(step.error);
  return {IoResult::Kind::kFailed, 0, step.error.sys_errno};
}

// In a handshake, or with a KeyUpdate to send, SSL_write_ex() would do that first.
IoResult Stream::Impl::encrypt(std::span<const std::byte> from) {
  if (!failure_ && !write_failure_ && write_ended_) {
    fail_writing({.code = Errc::kDisconnected, .operation = "write after our end"});
  }
  if (failure_ || write_failure_) return {IoResult::Kind::kFailed};
  if (const IoResult before = flush(); before.kind != IoResult::Kind::kBytes) return before;
  if (!writable()) return {IoResult::Kind::kWouldBlock};
  const auto chunk = from.first(std::min(from.size(), tls::kWriteBytesMax));
  std::size_t count = 0;
  const tls::Step step = call(
      "SSL_write", [&](SSL* ssl) { return SSL_write_ex(ssl, chunk.data(), chunk.size(), &count); });
  switch (step.kind) {
    case tls::Step::Kind::kDone:
      return {IoResult::Kind::kBytes, count};
    case tls::Step::Kind::kWantRead:
    case tls::Step::Kind::kWantWrite:
    case tls::Step::Kind::kAgain:
      return {IoResult::Kind::kWouldBlock};
    case tls::Step::Kind::kEnd:
      fail_writing({.code = Errc::kDisconnected, .operation = "SSL_write"});
      break;
    case tls::Step::Kind::kFailed:
      fail(step.error);
      break;
  }
  return {IoResult::Kind::kFailed};
}

IoResult Stream::Impl::flush() {
  if (!offer_output("SSL_write")) return {IoResult::Kind::kFailed};
  return {link_.output_bytes() == 0 ? IoResult::Kind::kBytes : IoResult::Kind::kWouldBlock};
}

bool Stream::Impl::try_end() {
  if (engine_.busy()) return false;
  const bool can_say_so = !failure_ && !write_failure_ && SSL_in_init(engine_.ssl()) == 0;
  if (can_say_so && !std::exchange(write_ended_, true)) {
    const tls::Step step = engine_.call("SSL_shutdown", send_close_notify);
    if (step.kind == tls::Step::Kind::kFailed) fail_writing(step.error);
  }
  if (link_.flush().kind == IoResult::Kind::kWouldBlock) return false;
  fiber::call_user(&Transport::shutdown_write, link_.transport());
  return true;
}

StreamTransport::StreamTransport(std::unique_ptr<Stream> inner)
    : owned_(std::move(inner)), inner_(*owned_) {}

StreamTransport::StreamTransport(Stream& inner) : inner_(inner) {}

StreamTransport::~StreamTransport() = default;

IoResult StreamTransport::fail(const Error& error) {
  failure_ = error;
  return {IoResult::Kind::kFailed, 0, error.sys_errno};
}

IoResult StreamTransport::try_read(std::span<std::byte> into) {
  const IoResult io = inner_.impl_->take(into);
  if (io.kind == IoResult::Kind::kFailed) return fail(*inner_.impl_->failure());
  if (io.kind == IoResult::Kind::kWouldBlock && wait_failure_) return fail(*wait_failure_);
  if (io.kind != IoResult::Kind::kWouldBlock || !at_end_) return io;
  return ending_ ? drain(into) : IoResult{IoResult::Kind::kEnd};
}

// Both ends of the inner connection are said; the transport's end below is still to come. Whoever
// destroys a socket before that resets it, and takes from the peer what it has not read yet.
IoResult StreamTransport::drain(std::span<std::byte> scratch) {
  constexpr std::size_t kBytesMax = std::size_t{1} << 20;
  if (end_wanted_) return {IoResult::Kind::kWouldBlock};
  const IoResult io = fiber::call_user(&Transport::try_read, inner_.transport(), scratch);
  switch (io.kind) {
    case IoResult::Kind::kBytes:
      dropped_ += io.bytes;
      return {dropped_ < kBytesMax ? IoResult::Kind::kWouldBlock : IoResult::Kind::kEnd};
    case IoResult::Kind::kWouldBlock:
      return io;
    case IoResult::Kind::kEnd:
    case IoResult::Kind::kFailed:
      break;
  }
  return {IoResult::Kind::kEnd};
}

IoResult StreamTransport::try_write(std::span<const std::byte> from) {
  Stream::Impl& inner = *inner_.impl_;
  IoResult io{IoResult::Kind::kBytes, encrypted_};
  if (encrypted_ == 0) {
    if (wait_failure_) return fail(*wait_failure_);
    io = inner.encrypt(from);
    if (io.kind == IoResult::Kind::kBytes) encrypted_ = io.bytes;
  }
  if (io.kind == IoResult::Kind::kBytes) io = inner.flush();
  if (io.kind == IoResult::Kind::kBytes) io.bytes = std::exchange(encrypted_, 0);
  if (io.kind == IoResult::Kind::kFailed) {
    return fail(inner.failure() ? *inner.failure() : *inner.write_failure());
  }
  return io;
}

Wake StreamTransport::wait(Interest interest, Deadline deadline) {
  Stream::Impl& inner = *inner_.impl_;
  if (at_end_ && ending_ && !end_wanted_) {
    return fiber::call_user(&Transport::wait, inner_.transport(), interest, deadline);
  }
  if (end_wanted_) interest = at_end_ ? Interest::kWrite : Interest::kReadOrWrite;
  const Result<bool> open = inner.await(interest, deadline);
  if (end_wanted_ && inner.try_end()) end_wanted_ = false;
  if (open) {
    at_end_ = at_end_ || !*open;
    return Wake::kReady;
  }
  // A failure that stays may have the code of an interruption, but it is none of this wait.
  const Error& error = open.error();
  if (inner.failure() || (interest == Interest::kWrite && inner.write_failure())) {
    return Wake::kReady;  // The next try says so.
  }
  if (error.code == Errc::kTimedOut) return Wake::kTimedOut;
  if (error.code == Errc::kCancelled) return Wake::kCancelled;
  wait_failure_ = error;
  return Wake::kReady;
}

void StreamTransport::shutdown_write() noexcept {
  const fiber::NoParkScope no_park("the end of a TLS stream below another one");
  ending_ = true;
  end_wanted_ = !inner_.impl_->try_end();
}

}  // namespace heddle
