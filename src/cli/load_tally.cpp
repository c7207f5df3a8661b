// Counts failures by kind, and adds up threads.
#include "cli/load_tally.h"

#include <algorithm>

namespace heddle::cli {
namespace {

const char* name_of(LoadStage stage) {
  switch (stage) {
    case LoadStage::kConnect:
      return "connect";
    case LoadStage::kHandshake:
      return "handshake";
    case LoadStage::kSend:
      return "send";
    case LoadStage::kReceive:
      return "receive";
  }
  return "";
}

const char* name_of(Errc code) {
  switch (code) {
    case Errc::kCancelled:
      return "cancelled";
    case Errc::kTimedOut:
      return "timed out";
    case Errc::kDisconnected:
      return "disconnected";
    case Errc::kTruncated:
      return "truncated";
    case Errc::kProtocol:
      return "protocol error";
    case Errc::kUntrusted:
      return "certificate not trusted";
    case Errc::kUnreachable:
      return "unreachable";
    case Errc::kExhausted:
      return "out of resources";
    case Errc::kInvalid:
      return "unusable";
    case Errc::kInternal:
      return "internal error";
  }
  return "";
}

}  // namespace

std::string LoadFailure::kind() const {
  return std::string(name_of(stage)).append(": ").append(name_of(code));
}

std::uint64_t LoadTally::failed() const {
  std::uint64_t count = 0;
  for (const LoadFailure& failure : failures) count += failure.count;
  return count;
}

void LoadTally::fail(LoadStage stage, const Error& error) {
  for (LoadFailure& failure : failures) {
    if (failure.stage == stage && failure.code == error.code) {
      ++failure.count;
      return;
    }
  }
  failures.push_back({.stage = stage, .code = error.code, .count = 1, .example = error.message()});
}

void LoadTally::add(const LoadTally& other) {
  answers += other.answers;
  for (std::size_t digit = 0; digit < status_counts.size(); ++digit) {
    status_counts[digit] += other.status_counts[digit];
  }
  due += other.due;
  begun += other.begun;
  handshakes += other.handshakes;
  resumed += other.resumed;
  unit_handshakes += other.unit_handshakes;
  unit_resumed += other.unit_resumed;
  bytes_sent += other.bytes_sent;
  bytes_received += other.bytes_received;
  idle_opened += other.idle_opened;
  idle_lost += other.idle_lost;
  seconds = std::max(seconds, other.seconds);
  cpu_seconds += other.cpu_seconds;
  latency.add(other.latency);
  handshake.add(other.handshake);
  for (const LoadFailure& theirs : other.failures) {
    const auto same = std::find_if(failures.begin(), failures.end(), [&](const auto& ours) {
      return ours.stage == theirs.stage && ours.code == theirs.code;
    });
    if (same == failures.end()) {
      failures.push_back(theirs);
    } else {
      same->count += theirs.count;
    }
  }
  if (session.empty()) session = other.session;
}

}  // namespace heddle::cli
