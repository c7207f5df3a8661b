// A TLS stream below another one: what of it may happen inside a call of OpenSSL, and what waits.
#include "heddle/tls/stream_transport.h"

#include <algorithm>
#include <utility>

#include "fiber/no_park.h"
#include "fiber/user_code.h"
#include "tls/connection/stream_impl.h"

namespace heddle {

// With bytes pending, SSL_read_ex() only copies: no record is read and no callback called.
IoResult Stream::Impl::take(std::span<std::byte> into) {
  if (machine_.failure()) return {IoResult::Kind::kFailed, 0, machine_.failure()->sys_errno};
  if (machine_.busy() || SSL_pending(machine_.ssl()) <= 0) return {IoResult::Kind::kWouldBlock};
  std::size_t count = 0;
  const tls::Step step = machine_.read(into, count);
  return outcome(step, count);
}

// In a handshake, or with a KeyUpdate to send, the machine would do that first.
IoResult Stream::Impl::encrypt(std::span<const std::byte> from) {
  if (machine_.refuses_write()) {
    if (!machine_.failure() && !machine_.write_failure()) {
      machine_.fail_writing(machine_.refused_write());
    }
    return {IoResult::Kind::kFailed};
  }
  if (const IoResult before = flush(); before.kind != IoResult::Kind::kBytes) return before;
  if (!writable()) return {IoResult::Kind::kWouldBlock};
  std::size_t count = 0;
  const auto chunk = from.first(std::min(from.size(), tls::kWriteBytesMax));
  const tls::Step step = machine_.write(chunk, count);
  return outcome(step, count);
}

// What a step is to whoever cannot wait, and has made sure that there is nothing to wait for.
IoResult Stream::Impl::outcome(tls::Step step, std::size_t count) {
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
  return {IoResult::Kind::kFailed, 0, over(*step.error).sys_errno};
}

IoResult Stream::Impl::flush() {
  if (!offer_output()) {
    (void)output_failed("SSL_write");
    return {IoResult::Kind::kFailed};
  }
  return {link_.output_bytes() == 0 ? IoResult::Kind::kBytes : IoResult::Kind::kWouldBlock};
}

bool Stream::Impl::try_end() {
  if (machine_.busy()) return false;
  if (!machine_.refuses_write()) {
    // The rest of the message is for await(): reading it, callbacks may park.
    if (machine_.established() && machine_.in_message()) return false;
    const tls::Step step = machine_.end();
    if (step.kind != tls::Step::Kind::kDone && step.kind != tls::Step::Kind::kFailed) return false;
  }
  if (link_.flush().kind == IoResult::Kind::kWouldBlock) return false;
  fiber::call_user(&Transport::shutdown_write, link_.transport());
  return true;
}

IoResult StreamTransport::fail(const Error& error) {
  failure_ = error;
  return {IoResult::Kind::kFailed, 0, error.sys_errno};
}

IoResult StreamTransport::try_read(std::span<std::byte> into) {
  Stream::Impl& below = inner().impl();
  const IoResult io = below.take(into);
  if (io.kind == IoResult::Kind::kFailed) return fail(*below.machine().failure());
  if (io.kind == IoResult::Kind::kWouldBlock && wait_failure_) return fail(*wait_failure_);
  if (io.kind != IoResult::Kind::kWouldBlock || !at_end_) return io;
  return ending_ ? drain(into) : IoResult{IoResult::Kind::kEnd};
}

// Both ends of the inner connection are said; the transport's end below is still to come. Whoever
// destroys a socket before that resets it, and takes from the peer what it has not read yet.
IoResult StreamTransport::drain(std::span<std::byte> scratch) {
  constexpr std::size_t kBytesMax = std::size_t{1} << 20;
  if (end_wanted_) return {IoResult::Kind::kWouldBlock};
  const IoResult io = fiber::call_user(&Transport::try_read, inner().transport(), scratch);
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
  Stream::Impl& below = inner().impl();
  IoResult io{IoResult::Kind::kBytes, encrypted_};
  if (encrypted_ == 0) {
    if (wait_failure_) return fail(*wait_failure_);
    io = below.encrypt(from);
    if (io.kind == IoResult::Kind::kBytes) encrypted_ = io.bytes;
  }
  if (io.kind == IoResult::Kind::kBytes) io = below.flush();
  if (io.kind == IoResult::Kind::kBytes) io.bytes = std::exchange(encrypted_, 0);
  if (io.kind == IoResult::Kind::kFailed) return fail(below.machine().refused_write());
  return io;
}

Wake StreamTransport::wait(Interest interest, Deadline deadline) {
  Stream::Impl& below = inner().impl();
  if (at_end_ && ending_ && !end_wanted_) {
    return fiber::call_user(&Transport::wait, below.transport(), interest, deadline);
  }
  if (end_wanted_) interest = at_end_ ? Interest::kWrite : Interest::kReadOrWrite;
  const Result<bool> open = below.await(interest, deadline);
  if (end_wanted_ && below.try_end()) end_wanted_ = false;
  if (open) {
    at_end_ = at_end_ || !*open;
    return Wake::kReady;
  }
  // A failure that stays may have the code of an interruption, but it is none of this wait.
  const Error& error = open.error();
  if (below.machine().failure() ||
      (interest == Interest::kWrite && below.machine().write_failure())) {
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
  end_wanted_ = !inner().impl().try_end();
}

}  // namespace heddle
