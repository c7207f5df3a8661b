// The simulated world.
#include "support/sim.h"

#include <algorithm>
#include <cerrno>

#include "base/assert.h"

namespace heddle::sim {

void World::start(std::string name, const std::shared_ptr<detail::TaskState>& task) {
  scheduler_.spawn({.name = std::move(name)}, task, /*scope=*/nullptr).value();
}

void World::wait(Deadline until) {
  if (until.time() <= now_) return;
  // Every fiber is parked for ever: the test would hang. Say so instead.
  HEDDLE_ASSERT(!until.is_never());
  now_ = until.time();
}

Duration World::up_to(Duration longest) {
  return Duration(
      1 + static_cast<Duration::rep>(prng_() % static_cast<std::uint64_t>(longest.count())));
}

IoResult Pipe::End::try_read(std::span<std::byte> into) noexcept {
  auto& flow = other().sent_;
  if (flow.empty()) {
    if (other().ended_ || pipe_.cut()) return {IoResult::Kind::kEnd};
    return refuse(Interest::kRead, /*by_fault=*/false);
  }
  if (pipe_.world_.one_in(pipe_.faults_.would_block)) return refuse(Interest::kRead, true);
  const std::size_t count = pipe_.limit(std::min(into.size(), flow.size()));
  std::copy_n(flow.begin(), count, into.begin());
  flow.erase(flow.begin(), flow.begin() + static_cast<std::ptrdiff_t>(count));
  pipe_.wake_both();
  return {IoResult::Kind::kBytes, count};
}

IoResult Pipe::End::try_write(std::span<const std::byte> from) noexcept {
  if (ended_ || other().vanished_ || pipe_.cut()) return {IoResult::Kind::kFailed, 0, EPIPE};
  const std::size_t capacity =
      side_ == 0 ? pipe_.faults_.capacity_of_a : pipe_.faults_.capacity_of_b;
  if (sent_.size() >= capacity) return refuse(Interest::kWrite, /*by_fault=*/false);
  if (pipe_.world_.one_in(pipe_.faults_.would_block)) return refuse(Interest::kWrite, true);
  const std::size_t left = pipe_.faults_.cut_after - pipe_.a_.sent_total_ - pipe_.b_.sent_total_;
  const std::size_t count = pipe_.limit(std::min({from.size(), capacity - sent_.size(), left}));
  sent_.insert(sent_.end(), from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
  const std::size_t flip = pipe_.faults_.flip_at;
  if (side_ == 0 && flip >= sent_total_ && flip < sent_total_ + count) {
    sent_[sent_.size() - count + (flip - sent_total_)] ^= std::byte{1};
  }
  sent_total_ += count;
  pipe_.wake_both();
  return {IoResult::Kind::kBytes, count};
}

IoResult Pipe::End::refuse(Interest what, bool by_fault) noexcept {
  (what == Interest::kRead ? read_refused_by_fault_ : write_refused_by_fault_) = by_fault;
  return {IoResult::Kind::kWouldBlock};
}

Wake Pipe::End::wait(Interest interest, Deadline deadline) {
  World& world = pipe_.world_;
  const bool refused_by_fault = (interest != Interest::kWrite && read_refused_by_fault_) ||
                                (interest != Interest::kRead && write_refused_by_fault_);
  if (refused_by_fault || world.one_in(pipe_.faults_.spurious_wake)) {
    // Nobody will wake us: the refusal was a lie. Come back a little later.
    const Deadline later = world.after(world.up_to(std::chrono::milliseconds(1)));
    const Wake wake = world.scheduler().park(std::min(later, deadline));
    return wake == Wake::kTimedOut && later < deadline ? Wake::kReady : wake;
  }
  if (has_become_ready(interest)) return Wake::kReady;
  // Woken by whatever happens to the pipe: spurious wake-ups are in the contract.
  return waiters_.wait(deadline);
}

// Between the refusal and the wait a callback of OpenSSL's may have parked: what came meanwhile
// has woken nobody.
bool Pipe::End::has_become_ready(Interest interest) {
  const std::size_t capacity =
      side_ == 0 ? pipe_.faults_.capacity_of_a : pipe_.faults_.capacity_of_b;
  const bool can_read = !other().sent_.empty() || other().ended_ || pipe_.cut();
  const bool can_write = sent_.size() < capacity || ended_ || other().vanished_ || pipe_.cut();
  return (interest != Interest::kWrite && can_read) || (interest != Interest::kRead && can_write);
}

void Pipe::End::shutdown_write() noexcept {
  ended_ = true;
  pipe_.wake_both();
}

void Pipe::End::vanish() {
  ended_ = true;
  vanished_ = true;
  pipe_.wake_both();
}

void Pipe::wake_both() {
  a_.waiters_.wake_all();
  b_.waiters_.wake_all();
}

}  // namespace heddle::sim
