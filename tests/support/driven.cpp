#include "support/driven.h"

#include <array>
#include <utility>

#include <openssl/ssl.h>

#include "base/interruption.h"
#include "support/tls_pair.h"

namespace heddle::test {

std::string Driven::name(Way way) {
  constexpr std::array kNames = {"Stream", "SslObject", "StreamTransport"};
  return kNames.at(static_cast<std::size_t>(way));
}

Driven::Driven(Way way, const Context& context, const StreamOptions& options, Transport& below)
    : below_(below) {
  if (way == Way::kSslObject) {
    object_ = SslObject::create(context, incoming_, outgoing_, options).value();
    return;
  }
  stream_ = Stream::create(context, below, options).value();
  if (way == Way::kStreamTransport) above_.emplace(*stream_);
}

Result<void> Driven::handshake(Deadline deadline) {
  if (stream_) return stream_->handshake(deadline);
  const auto done = drive_object([&] { return object_->handshake(); }, deadline);
  return done ? Result<void>() : done.error();
}

Result<std::size_t> Driven::read(std::span<std::byte> into, Deadline deadline) {
  if (above_) return read_above(into, deadline);
  if (stream_) return stream_->read(into, deadline);
  const auto progress = drive_object([&] { return object_->read(into); }, deadline);
  if (!progress) return progress.error();
  return progress->bytes;
}

Result<void> Driven::write(std::string_view text, Deadline deadline) {
  if (above_) return write_above(bytes(text), deadline);
  if (stream_) return stream_->write(bytes(text), deadline);
  const auto done = drive_object([&] { return object_->write(bytes(text)); }, deadline);
  return done ? Result<void>() : done.error();
}

Result<void> Driven::end(Deadline deadline) {
  if (above_) {
    above_->shutdown_write();
    // What could not be done at once is done while somebody waits.
    return wait_above(Interest::kWrite, deadline);
  }
  if (stream_) return stream_->shutdown_write(deadline);
  for (;;) {
    const bool begun = SSL_get_shutdown(ssl()) != 0;
    const auto progress = object_->shutdown();
    send();
    if (!progress) return progress.error();
    if (progress->kind != Progress::Kind::kWantRead || begun) return {};
    if ((SSL_get_shutdown(ssl()) & SSL_SENT_SHUTDOWN) != 0) return {};
    if (const auto moved = move(Interest::kRead, deadline); !moved) return moved;
  }
}

SSL* Driven::ssl() const {
  return object_ ? object_->native_handle() : stream_->native_handle();
}

// Until it is done, or the peer has ended.
template <typename Call>
Result<Progress> Driven::drive_object(Call call, Deadline deadline) {
  for (;;) {
    const Result<Progress> progress = call();
    send();
    if (!progress) return progress;
    if (progress->kind == Progress::Kind::kDone || progress->kind == Progress::Kind::kEnd) {
      return progress;
    }
    if (const auto moved = move(Interest::kRead, deadline); !moved) return moved.error();
  }
}

void Driven::send() {
  while (outgoing_.pending() > 0) {
    const IoResult io = below_.try_write(outgoing_.readable());
    if (io.kind != IoResult::Kind::kBytes) return;
    outgoing_.consume(io.bytes);
  }
}

// Moves what there is, and waits only if there is nothing.
Result<void> Driven::move(Interest interest, Deadline deadline) {
  std::array<std::byte, 4096> some{};
  const IoResult io = below_.try_read(some);
  if (io.kind == IoResult::Kind::kBytes) return incoming_.write(std::span(some).first(io.bytes));
  if (io.kind == IoResult::Kind::kEnd) {
    incoming_.write_eof();
    return {};
  }
  const Wake wake = below_.wait(interest, deadline);
  return wake == Wake::kReady ? Result<void>() : interruption(wake, "move bytes");
}

Result<std::size_t> Driven::read_above(std::span<std::byte> into, Deadline deadline) {
  for (;;) {
    const IoResult io = above_->try_read(into);
    if (io.kind == IoResult::Kind::kBytes) return io.bytes;
    if (io.kind == IoResult::Kind::kEnd) return std::size_t{0};
    if (io.kind == IoResult::Kind::kFailed) return *above_->failure();
    if (const auto waited = wait_above(Interest::kRead, deadline); !waited) return waited.error();
  }
}

Result<void> Driven::write_above(std::span<const std::byte> from, Deadline deadline) {
  while (!from.empty()) {
    const IoResult io = above_->try_write(from);
    if (io.kind == IoResult::Kind::kFailed) return *above_->failure();
    if (io.kind == IoResult::Kind::kBytes) {
      from = from.subspan(io.bytes);
    } else if (const auto waited = wait_above(Interest::kWrite, deadline); !waited) {
      return waited;
    }
  }
  return {};
}

Result<void> Driven::wait_above(Interest interest, Deadline deadline) {
  const Wake wake = above_->wait(interest, deadline);
  return wake == Wake::kReady ? Result<void>() : interruption(wake, "wait for a stream below");
}

}  // namespace heddle::test
