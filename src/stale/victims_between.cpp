// Victims whose call begins while the entry lies there already.
#include <array>
#include <cstddef>

#include <openssl/err.h>

#include "stale/victims.h"

namespace heddle::stale {
namespace {

enum class By : bool { kSelf, kOther };

// The leak happens between two calls of the victim: by other code in its own fiber, with no switch
// at all, or in another fiber.
void leak_between(Scene& scene, By by) {
  if (by == By::kSelf) {
    scene.leak_here();
  } else {
    scene.leak();
  }
}

void begin(Scene& scene, By by) {
  if (by == By::kOther) scene.start_leaker();
}

Outcome read_one(StackConnection& victim) {
  std::array<std::byte, 16> into{};
  return victim.read(into, Patience::kNone);
}

template <By by>
Finding read(Scene& scene) {
  begin(scene, by);
  const Pair& pair = scene.connect(scene.any_role());
  leak_between(scene, by);
  return expect_waiting(read_one(*pair.victim));
}

template <By by>
Finding peek(Scene& scene) {
  begin(scene, by);
  const Pair& pair = scene.connect(scene.any_role());
  leak_between(scene, by);
  std::array<std::byte, 16> into{};
  return expect_waiting(pair.victim->peek(into));
}

template <By by>
Finding shutdown(Scene& scene) {
  begin(scene, by);
  const Pair& pair = scene.connect(scene.any_role());
  require(pair.victim->shutdown().answer == Answer::kWaiting, "a shutdown did not wait");
  leak_between(scene, by);
  return expect_waiting(pair.victim->shutdown());
}

// The writer is parked with its socket full. It wakes when there is room for a little, and has to
// wait again.
Finding write_full(Scene& scene) {
  constexpr std::size_t kMuch = std::size_t{1024} * 1024;
  constexpr std::size_t kLittle = std::size_t{192} * 1024;
  scene.start_leaker();
  Pair& pair = scene.connect(scene.any_role());
  if (SSL* const ssl = pair.victim->native_handle()) {
    scene.hooks().refuse_when_full = pair.descriptor;
    push_switch_bio(ssl, scene.hooks());
  }
  scene.spawn("writer",
              [&pair] { pair.outcome = pair.victim->write(std::vector<std::byte>(kMuch)); });
  scene.settle();
  require(!pair.outcome, "a megabyte fits into a socket");
  scene.leak();
  std::size_t taken = pair.peer->drain(kLittle);
  scene.until("the writer is done", [&] {
    scene.settle();
    if (!pair.outcome) taken += pair.peer->drain(kLittle);
    return pair.outcome.has_value();
  });
  return expect_done(*pair.outcome);
}

// The reader is parked. Half a record wakes it, and it has to wait for the rest.
Finding woken_reader(Scene& scene) {
  scene.start_leaker();
  Pair& pair = scene.connect(scene.any_role());
  scene.spawn("reader", [&pair] {
    std::array<std::byte, 16> into{};
    pair.outcome = pair.victim->read(into, Patience::kForever);
  });
  scene.settle();
  require(!pair.outcome, "a read without data did not wait");
  scene.leak();
  const std::string record = pair.peer->seal("half and half");
  const std::size_t half = 1 + scene.below(record.size() - 1);
  pair.peer->put(std::string_view(record).substr(0, half));
  scene.settle();
  if (!pair.outcome) pair.peer->put(std::string_view(record).substr(half));
  scene.until("the reader is done", [&] { return pair.outcome.has_value(); });
  return expect_done(*pair.outcome);
}

Finding five(Scene& scene) {
  constexpr std::size_t kVictims = 5;
  scene.start_leaker();
  std::array<Pair*, kVictims> pairs{};
  for (Pair*& pair : pairs) pair = &scene.connect(scene.any_role());
  scene.leak();
  Finding finding{Verdict::kHealthy, "that they have to wait"};
  std::size_t dead = 0;
  for (const Pair* const pair : pairs) {
    const Finding one = expect_waiting(read_one(*pair->victim));
    if (one.verdict == Verdict::kHealthy) continue;
    finding = one;
    ++dead;
  }
  if (dead > 0) finding.saw += " (" + std::to_string(dead) + " of 5)";
  return finding;
}

// OpenSSL clears the queue itself when a handshake begins.
Finding handshake(Scene& scene) {
  scene.start_leaker();
  Pair& pair = scene.make_pair(scene.any_role());
  scene.leak();
  return expect_done(scene.handshake(pair));
}

bool speaks_of_the_system(const Scene& scene) {
  return !scene.left().empty() && ERR_SYSTEM_ERROR(scene.left().front().code);
}

// The connection truly fails, in the way that the entry does not speak of: by a forged record if
// the entry speaks of the system, else by a reset.
template <By by>
Finding true_failure(Scene& scene) {
  begin(scene, by);
  const Pair& pair = scene.connect(scene.any_role());
  // What its owner has not read makes the end of a Unix socket a reset.
  const std::array<std::byte, 1> unread{};
  require(pair.victim->write(unread).answer == Answer::kDone, "the victim cannot write");
  leak_between(scene, by);
  const bool forge = speaks_of_the_system(scene);
  if (forge) {
    pair.peer->put(forged_record());
  } else {
    pair.peer->hang_up();
  }
  return expect_failure(read_one(*pair.victim),
                        forge ? Answer::kTlsFailed : Answer::kTransportFailed);
}

// The application's own call has failed, and it uses TLS before it looks at the reason.
Finding own_errors(Scene& scene) {
  const Pair& pair = scene.connect(scene.any_role());
  scene.leak_here();
  const bool must_clean_up = scene.stack().claims() == Isolation::kIsolated;
  if (scene.kind().through_stack && must_clean_up && !scene.left().empty()) {
    return {Verdict::kLost, "what a failure of the stack's own has left behind"};
  }
  (void)read_one(*pair.victim);
  const bool there = scene.left_is_there();
  return {there ? Verdict::kHealthy : Verdict::kLost,
          there ? "its own errors" : "that its own errors are gone"};
}

constexpr std::array kSituations = {
    Situation{"read", "same-fiber", read<By::kSelf>},
    Situation{"peek", "same-fiber", peek<By::kSelf>},
    Situation{"shutdown", "same-fiber", shutdown<By::kSelf>},
    Situation{"true-failure", "same-fiber", true_failure<By::kSelf>},
    Situation{"own-errors", "same-fiber", own_errors},
    Situation{"read", "between-calls", read<By::kOther>},
    Situation{"peek", "between-calls", peek<By::kOther>},
    Situation{"write", "between-calls", write_full},
    Situation{"shutdown", "between-calls", shutdown<By::kOther>},
    Situation{"woken-reader", "between-calls", woken_reader},
    Situation{"five", "between-calls", five},
    Situation{"handshake", "between-calls", handshake},
    Situation{"true-failure", "between-calls", true_failure<By::kOther>},
};

}  // namespace

std::span<const Situation> between_situations() {
  return kSituations;
}

}  // namespace heddle::stale
