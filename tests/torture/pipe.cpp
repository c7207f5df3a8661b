// The pipe in memory, and functions over it.
#include "torture/pipe.h"

#include <algorithm>
#include <cerrno>

#include "support/forwarding_transport.h"

namespace heddle::torture {

Pipe::Pipe(std::size_t capacity) : capacity_(capacity) {
  for (std::size_t side = 0; side < 2; ++side) {
    ends_[side].pipe_ = this;
    ends_[side].side_ = side;
  }
}

void Pipe::wake() {
  for (End& end : ends_) end.waiters_.wake_all();
}

void Pipe::kill() {
  for (Way& way : ways_) way.ended = way.broken = true;
  wake();
}

IoResult Pipe::End::try_read(std::span<std::byte> into) {
  Way& in = pipe_->ways_[1 - side_];
  if (in.bytes.empty()) return {in.ended ? IoResult::Kind::kEnd : IoResult::Kind::kWouldBlock};
  const std::size_t count = std::min({into.size(), in.bytes.size(), chunk});
  const auto last = in.bytes.begin() + static_cast<std::ptrdiff_t>(count);
  std::copy(in.bytes.begin(), last, into.begin());
  in.bytes.erase(in.bytes.begin(), last);
  ++pipe_->moves_;
  pipe_->wake();
  return {IoResult::Kind::kBytes, count};
}

IoResult Pipe::End::try_write(std::span<const std::byte> from) {
  Way& out = pipe_->ways_[side_];
  if (out.ended || out.broken) return {IoResult::Kind::kFailed, 0, EPIPE};
  if (out.bytes.size() >= pipe_->capacity_) return {IoResult::Kind::kWouldBlock};
  const std::size_t room = pipe_->capacity_ - out.bytes.size();
  const std::size_t count = std::min({from.size(), room, chunk});
  out.bytes.insert(out.bytes.end(), from.begin(), from.begin() + static_cast<long>(count));
  ++pipe_->moves_;
  pipe_->wake();
  return {IoResult::Kind::kBytes, count};
}

Wake Pipe::End::wait(Interest interest, Deadline deadline) {
  const Way& in = pipe_->ways_[1 - side_];
  const Way& out = pipe_->ways_[side_];
  const bool readable = !in.bytes.empty() || in.ended;
  const bool writable = out.bytes.size() < pipe_->capacity_ || out.ended || out.broken;
  if (interest != Interest::kWrite && readable) return Wake::kReady;
  if (interest != Interest::kRead && writable) return Wake::kReady;
  return waiters_.wait(deadline);
}

void Pipe::End::shutdown_write() noexcept {
  pipe_->ways_[side_].ended = true;
  pipe_->wake();
}

namespace {

// Repeats `attempt` until it has moved something.
template <typename Attempt>
Result<std::size_t> until_moved(Pipe::End& end, Interest interest, Deadline deadline,
                                const char* operation, Attempt attempt) {
  for (;;) {
    const IoResult io = attempt();
    switch (io.kind) {
      case IoResult::Kind::kBytes:
        return io.bytes;
      case IoResult::Kind::kEnd:
        return std::size_t{0};
      case IoResult::Kind::kFailed:
        return Error{.code = Errc::kDisconnected, .operation = operation};
      case IoResult::Kind::kWouldBlock:
        break;
    }
    const Wake wake = end.wait(interest, deadline);
    if (wake == Wake::kTimedOut) return Error{.code = Errc::kTimedOut, .operation = operation};
    if (wake == Wake::kCancelled) return Error{.code = Errc::kCancelled, .operation = operation};
  }
}

}  // namespace

std::unique_ptr<Transport> owned(Pipe::End& end) {
  return std::make_unique<test::ForwardingTransport>(end);
}

std::unique_ptr<Transport> over_functions(Pipe::End& end) {
  return std::make_unique<CallbackTransport>(CallbackTransport::Functions{
      .read =
          [&end](std::span<std::byte> into, Deadline deadline) {
            return until_moved(end, Interest::kRead, deadline, "read of a function",
                               [&] { return end.try_read(into); });
          },
      .write =
          [&end](std::span<const std::byte> from, Deadline deadline) {
            return until_moved(end, Interest::kWrite, deadline, "write of a function",
                               [&] { return end.try_write(from); });
          },
      .shutdown_write = [&end] { end.shutdown_write(); }});
}

}  // namespace heddle::torture
