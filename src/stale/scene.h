// Scene: one victim, one leaker, and who acts when.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "heddle/stale.h"

#include "stale/leakers.h"
#include "stale/materials.h"
#include "stale/raw.h"
#include "stale/switch_bio.h"

namespace heddle::stale {

// The victim's connection and its far end. Belongs to the scene, so that fibers may use it.
struct Pair {
  std::unique_ptr<StackConnection> victim;
  std::unique_ptr<Peer> peer;
  int descriptor = -1;             // The victim's, for looking only.
  bool given_up = false;           // The victim's handshake has failed.
  bool shaken = false;             // The far end's handshake is over.
  std::optional<Outcome> outcome;  // What a fiber of the victim's has come to.
};

enum class Trusts : bool { kNobody, kServer };

// Scene lives in the victim's fiber, and runs the leaker in another one when asked to.
//
// Lifetime: end() before it goes, also after an exception, so that no fiber is left in it.
class Scene {
 public:
  Scene(Stack& stack, const LeakerKind& kind, std::uint64_t seed);
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  ~Scene() = default;

  // --- Connections. All throw Broken.
  Pair& make_pair(Role victim, Trusts trusts = Trusts::kServer);
  // The victim's handshake, against the peer's in another fiber.
  Outcome handshake(Pair& pair);
  // Both, and one byte each way: what is read next is not a ticket.
  Pair& connect(Role victim);
  // Those below throw Skip if the stack has no such thing.
  SSL* native(const Pair& pair) const;
  void need_switches_inside() const;
  // A role that depends on the seed.
  Role any_role() { return below(2) == 0 ? Role::kClient : Role::kServer; }

  // --- The leak.
  // In a fiber of its own: prepares now, leaves when leak() is called.
  void start_leaker();
  // Lets the leaker leave its entries, and returns with the caller's fiber running. The second form
  // is for callbacks inside OpenSSL, through which nothing may be thrown.
  void leak();
  void leak_inside() noexcept;
  // Both at once, in the caller's fiber.
  void leak_here();

  // Whether what the leaker left can still be read by itself. Call end() first.
  bool leaker_found_its_entries() const { return leaker_found_its_entries_; }

  // Closes all far ends, lets all other fibers finish, and throws what went wrong in one of them.
  void end();

  // --- Time.
  template <typename Condition>
  void until(const char* what, Condition condition) {
    for (int turn = 0; !condition(); ++turn) {
      if (!broken_.empty()) throw Broken(broken_);
      if (turn == kTurnsMax) throw Broken(std::string("waited in vain until ") + what);
      stack_.yield();
    }
  }
  // Lets the others do all they can.
  void settle();
  void spawn(const std::string& name, std::function<void()> entry);

  // --- What the seed decides.
  std::size_t below(std::size_t limit) { return prng_() % limit; }

  Stack& stack() noexcept { return stack_; }
  SwitchBioHooks& hooks() noexcept { return hooks_; }
  const std::optional<Origin>& origin() const noexcept { return origin_; }
  const LeakerKind& kind() const noexcept { return kind_; }
  // The visible entries that the leaker left.
  const std::vector<ErrorEntry>& left() const noexcept { return left_; }
  // Whether they are in the calling fiber's queue.
  bool left_is_there() const;

 private:
  static constexpr int kTurnsMax = 100'000;

  void leave(Leaker& leaker, const char* fiber);
  void run_leaker();

  Stack& stack_;
  const LeakerKind& kind_;
  std::mt19937_64 prng_;
  int version_max_;
  SwitchBioHooks hooks_;  // Before the connections, which use them.
  std::vector<std::unique_ptr<Pair>> pairs_;

  std::size_t fibers_ = 0;  // Spawned and not finished.
  std::string broken_;
  bool inside_ = false;  // A victim is parked inside OpenSSL: its peer holds still.
  bool stopping_ = false;

  bool prepared_ = false;
  bool go_ = false;
  bool left_it_ = false;
  bool leaker_found_its_entries_ = true;
  std::vector<ErrorEntry> left_;
  std::optional<Origin> origin_;
};

}  // namespace heddle::stale
