// Makes connections and requests, and counts what becomes of them.
#include "cli/load_connection.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "heddle/fiber.h"

namespace heddle::cli {
namespace {

// How long to wait for the peer's end once all answers are there.
constexpr auto kLinger = std::chrono::milliseconds(500);

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::uint64_t nanoseconds(Duration duration) {
  return static_cast<std::uint64_t>(std::max(duration, Duration::zero()).count());
}

}  // namespace

TimePoint load_clock() noexcept {
  return std::chrono::steady_clock::now();  // tidy: see the header.
}

LoadTarget::LoadTarget(Runtime& its_runtime, const LoadPlan& its_plan, LoadTally& its_tally)
    : runtime(its_runtime), plan(its_plan), tally(its_tally) {
  request.push_back(bytes_of(plan.head));
  request_bytes = plan.head.size() + plan.body;
  for (std::size_t left = plan.body; left > 0;) {
    const std::size_t count = std::min(left, plan.block.size());
    request.push_back(bytes_of(plan.block).first(count));
    left -= count;
  }
}

// The buffer is left uninitialized: what is not read into is never touched.
LoadConnection::LoadConnection(LoadTarget& target)
    : target_(target),
      buffer_(std::make_unique_for_overwrite<std::array<std::byte, kReadBytes>>()) {}

bool LoadConnection::fail(LoadStage stage, const Error& error) {
  if (error.code != Errc::kCancelled) target_.tally.fail(stage, error);
  session_.reset();
  stream_.reset();
  return false;
}

Result<Socket> LoadConnection::dial(Deadline deadline) {
  const Endpoint& endpoint = target_.plan.endpoint;
  if (target_.address) return connect(target_.runtime, *target_.address, deadline);
  if (!endpoint.unix_path.empty()) {
    const Result<Address> address = Address::from_unix_path(endpoint.unix_path);
    if (!address) return address.error();
    return connect(target_.runtime, *address, deadline);
  }
  return connect(target_.runtime, endpoint.host, endpoint.port, deadline);
}

bool LoadConnection::open(Deadline deadline) {
  const TimePoint begin = load_clock();
  Result<Socket> socket = dial(deadline);
  if (!socket) return fail(LoadStage::kConnect, socket.error());
  if (!target_.address) {
    const Result<Address> address = socket->peer_address();
    if (address) target_.address = *address;
  }
  Result<Stream> stream =
      Stream::create(target_.plan.context, *std::move(socket),
                     {.server_name = target_.plan.server_name, .session = session_});
  if (!stream) return fail(LoadStage::kHandshake, stream.error());
  stream_.emplace(*std::move(stream));
  if (const Result<void> shaken = stream_->handshake(deadline); !shaken) {
    return fail(LoadStage::kHandshake, shaken.error());
  }
  const bool counts = target_.measuring || target_.plan.handshakes == LoadHandshakes::kKept;
  if (counts) target_.tally.handshake.record(nanoseconds(load_clock() - begin));
  count_handshake();
  return true;
}

void LoadConnection::count_handshake() {
  const ConnectionState state = stream_->connection_state();
  LoadTally& tally = target_.tally;
  ++tally.handshakes;
  if (state.resumed) ++tally.resumed;
  if (target_.measuring) {
    ++tally.unit_handshakes;
    if (state.resumed) ++tally.unit_resumed;
  }
  if (tally.session.empty()) {
    tally.session.append(state.version).append(" ").append(state.cipher);
  }
}

bool LoadConnection::exchange(Deadline deadline) {
  const Result<void> sent = stream_->write(target_.request, deadline);
  if (!sent) return fail(LoadStage::kSend, sent.error());
  target_.tally.bytes_sent += target_.request_bytes;
  answer_.begin(target_.plan.answers);
  if (const Result<void> received = receive(deadline); !received) {
    return fail(LoadStage::kReceive, received.error());
  }
  if (target_.plan.handshakes == LoadHandshakes::kResumed) {
    std::optional<Session> session = stream_->session();
    if (session && session->is_resumable()) session_ = std::move(session);
  }
  return true;
}

Result<void> LoadConnection::receive(Deadline deadline) {
  constexpr const char* kOperation = "read the answer";
  while (!answer_.done()) {
    const Result<std::size_t> count = stream_->read(*buffer_, deadline);
    if (!count) return count.error();
    if (*count == 0) {
      if (answer_.end()) break;
      return Error{.code = Errc::kTruncated,
                   .operation = kOperation,
                   .detail = "the server has ended the connection before its end"};
    }
    target_.tally.bytes_received += *count;
    const std::string_view text(static_cast<const char*>(static_cast<const void*>(buffer_->data())),
                                *count);
    const std::size_t taken = answer_.take(text);
    if (answer_.failure() != nullptr) {
      return Error{.code = Errc::kProtocol, .operation = kOperation, .detail = answer_.failure()};
    }
    if (taken < *count) {
      return Error{.code = Errc::kProtocol,
                   .operation = kOperation,
                   .detail = "the server has sent more than one answer"};
    }
  }
  return {};
}

std::optional<TimePoint> LoadConnection::unit(TimePoint begin) {
  const Deadline deadline = Deadline::after(begin, target_.plan.timeout);
  if (!is_open() && !open(deadline)) return std::nullopt;
  if (!exchange(deadline)) return std::nullopt;
  const TimePoint end = load_clock();
  LoadTally& tally = target_.tally;
  ++tally.answers;
  ++tally.status_counts.at(static_cast<std::size_t>(std::min(answer_.status() / 100, 5)));
  tally.latency.record(nanoseconds(end - begin));
  if (target_.plan.handshakes != LoadHandshakes::kKept || !answer_.keeps_alive()) close();
  return end;
}

// All that matters is there: how the goodbye goes does not change that.
void LoadConnection::close() {
  if (!stream_) return;
  (void)stream_->close(this_fiber::after(kLinger));
  stream_.reset();
}

void LoadConnection::idle() {
  ++target_.tally.idle_opened;
  const Result<std::size_t> count = stream_->read(*buffer_, Deadline::never());
  if (count || count.error().code != Errc::kCancelled) ++target_.tally.idle_lost;
}

}  // namespace heddle::cli
