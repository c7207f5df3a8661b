// Plain text on the same transport, once TLS has ended in both directions.
#include <algorithm>

#include "torture/connection.h"

namespace heddle::torture {
namespace {

constexpr std::size_t kPlainBytes = 3000;

Deadline soon() {
  return this_fiber::after(std::chrono::seconds(60));
}

bool write_plain(Transport& transport, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const IoResult io = transport.try_write(bytes);
    if (io.kind == IoResult::Kind::kBytes) {
      bytes = bytes.subspan(io.bytes);
    } else if (io.kind != IoResult::Kind::kWouldBlock ||
               transport.wait(Interest::kWrite, soon()) != Wake::kReady) {
      return false;
    }
  }
  return true;
}

bool read_plain(Transport& transport, std::span<std::byte> into) {
  while (!into.empty()) {
    const IoResult io = transport.try_read(into);
    if (io.kind == IoResult::Kind::kBytes) {
      into = into.subspan(io.bytes);
    } else if (io.kind != IoResult::Kind::kWouldBlock ||
               transport.wait(Interest::kRead, soon()) != Wake::kReady) {
      return false;
    }
  }
  return true;
}

}  // namespace

// As soon as this side is through: the other one may still have our close_notify to read, with the
// plain text behind it.
void TortureConnection::release(std::size_t side, std::vector<Task<void>>& tasks) {
  const auto first = static_cast<std::size_t>(side) * 2;
  for (std::size_t i = first; i < first + 2; ++i) {
    if (!tasks[i].join()) return;
  }
  if (excused() || !ways_[side].ended || !ways_[1 - side].end_seen) return;
  Rng rng(seed_ + 30 + static_cast<std::uint64_t>(side));
  stages_[side] = "releases";
  auto released = checked(report_, rng, "release", [&] { return streams_[side]->release(); });
  if (!released) {
    fault("release() after both ends fails: " + released.error().message());
    return;
  }
  report_.count(released->unread.empty() ? "released" : "released with plain text read ahead");
  if (!exchange(side, std::move(*released)) && !excused()) {
    fault("plain text after release() does not arrive");
  }
  stages_[side] = "released";
}

bool TortureConnection::exchange(std::size_t side, Stream::Released released) {
  // The transport stays as long as the peer needs what was written.
  std::unique_ptr<Transport>& transport = transports_[side];
  transport = std::move(released.transport);
  const std::uint64_t ours = ways_[side].seed + 1;
  const std::uint64_t theirs = ways_[1 - side].seed + 1;
  std::vector<std::byte> all = std::move(released.unread);
  const std::size_t early = all.size();
  if (early > kPlainBytes) return false;
  all.resize(kPlainBytes);
  bool written = false;
  bool read = false;
  scope([&](Scope& s) {
    (void)s.spawn("plain",
                  [&] { written = write_plain(*transport, pattern(ours, 0, kPlainBytes)); });
    read = read_plain(*transport, std::span(all).subspan(early));
  });
  if (!written || !read) return false;
  const auto wanted = pattern(theirs, 0, kPlainBytes);
  const auto wrong = std::mismatch(all.begin(), all.end(), wanted.begin()).first;
  if (wrong == all.end()) return true;
  const auto at = static_cast<std::size_t>(wrong - all.begin());
  std::string text = "wrong plain text after release() at " + std::to_string(at) + ", of " +
                     std::to_string(early) + " read ahead:";
  for (std::size_t i = at; i < std::min(at + 8, kPlainBytes); ++i) {
    text += ' ' + std::to_string(std::to_integer<int>(all[i]));
  }
  fault(text);
  return true;
}

}  // namespace heddle::torture
