// Changing the keys of session tickets.
#include "tls/state/ticket_key_ring.h"

#include <new>
#include <utility>

namespace heddle::tls {
namespace {

constexpr const char* kOperation = "Context::set_ticket_rotation()";
// A ticket names its key, which is looked for among all of them.
constexpr std::size_t kKeysMax = 1000;

Error invalid(const char* detail) {
  return {.code = Errc::kInvalid, .operation = kOperation, .detail = detail};
}

}  // namespace

void TicketKeyRing::set(std::vector<TicketKey> keys) {
  auto given = std::make_shared<const std::vector<TicketKey>>(std::move(keys));
  const std::lock_guard lock(mutex_);
  source_ = Source::kGiven;
  made_.clear();
  keys_ = std::move(given);
}

void TicketKeyRing::rotate_by_default() {
  const std::lock_guard lock(mutex_);
  source_ = Source::kDefault;
}

Result<void> TicketKeyRing::rotate(const TicketRotation& rotation) {
  using std::chrono::seconds;
  const std::lock_guard lock(mutex_);
  const seconds kept = rotation.kept.value_or(session_timeout_);
  if (rotation.interval < seconds(1)) return invalid("the interval is less than a second");
  if (kept < seconds(0)) return invalid("keys cannot be kept for a negative time");
  if (kept / rotation.interval >= static_cast<std::int64_t>(kKeysMax))
    return invalid("that would keep more than 1000 keys");
  rotation_ = rotation;
  source_ = Source::kRotation;
  return {};
}

void TicketKeyRing::set_session_timeout(std::chrono::seconds timeout) {
  const std::lock_guard lock(mutex_);
  session_timeout_ = timeout;
}

TicketKeyRing::Source TicketKeyRing::source() const {
  const std::lock_guard lock(mutex_);
  return source_;
}

TicketKeyRing::Current TicketKeyRing::get(TimePoint now) noexcept {
  const std::lock_guard lock(mutex_);
  if (source_ == Source::kNone) return {};
  if (source_ == Source::kGiven) return {.keys = keys_, .seals = true};
  if (!seals(now) || is_over(now)) {
    try {
      turn(now);
    } catch (const std::bad_alloc&) {
      // Tickets of a key that is to be dropped must not be accepted.
      made_.clear();
      keys_ = nullptr;
    }
  }
  return {.keys = keys_, .seals = seals(now)};
}

bool TicketKeyRing::seals(TimePoint now) const {
  return !made_.empty() &&
         now < Deadline::after(made_.front().at, saturated(rotation_.interval)).time();
}

// A key that seals no more opens for as long as its last ticket may be worth something.
bool TicketKeyRing::is_over(TimePoint now) const {
  const Duration kept = saturated(rotation_.kept.value_or(session_timeout_));
  const Deadline sealed_last = Deadline::after(made_.back().at, saturated(rotation_.interval));
  return now >= Deadline::after(sealed_last.time(), kept).time();
}

void TicketKeyRing::turn(TimePoint now) {
  while (!made_.empty() && is_over(now)) made_.pop_back();
  if (!seals(now)) {
    if (const auto key = TicketKey::generate()) made_.push_front({.key = *key, .at = now});
  }
  if (made_.size() > kKeysMax) made_.resize(kKeysMax);
  std::vector<TicketKey> keys;
  keys.reserve(made_.size());
  for (const Made& each : made_) keys.push_back(each.key);
  keys_ = std::make_shared<const std::vector<TicketKey>>(std::move(keys));
}

}  // namespace heddle::tls
