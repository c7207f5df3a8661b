// The keys of session tickets: given by the program, or made here and changed by a clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/tls/session.h"

namespace heddle::tls {

// TicketKeyRing is a set of ticket keys that changes while others use it.
//
// Threads: any.
class TicketKeyRing {
 public:
  // The first seals, all open. Null: there are none.
  using Keys = std::shared_ptr<const std::vector<TicketKey>>;

  // Where the keys come from. Until the program has said something, rotate_by_default() counts.
  enum class Source : std::uint8_t { kNone, kDefault, kRotation, kGiven };

  // Each replaces what was there, but a rotation keeps the keys that another has made.
  void set(std::vector<TicketKey> keys);
  void rotate_by_default();
  // Fails with kInvalid for what TicketRotation does not allow.
  Result<void> rotate(const TicketRotation& rotation);

  // For rotations that name no time of their own.
  void set_session_timeout(std::chrono::seconds timeout);

  Source source() const;

  // The keys now, by whatever clock `now` is.
  struct Current {
    Keys keys;
    bool seals = false;  // False if there is no randomness, or memory, for a new key.
  };
  Current get(TimePoint now) noexcept;

 private:
  struct Made {
    TicketKey key;
    TimePoint at;
  };

  // Whether the first key may seal.
  bool seals(TimePoint now) const;
  // Whether the last key must go. Precondition: there is one.
  bool is_over(TimePoint now) const;
  void turn(TimePoint now);

  mutable std::mutex mutex_;
  Source source_ = Source::kNone;
  TicketRotation rotation_;
  std::chrono::seconds session_timeout_ = std::chrono::hours(2);
  std::deque<Made> made_;  // The newest first.
  Keys keys_;
};

}  // namespace heddle::tls
