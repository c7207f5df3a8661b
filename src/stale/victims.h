// Victims: what goes on while a stale entry lies, or comes to lie, in the queue.
#pragma once

#include <span>
#include <string>

#include "heddle/stale.h"

#include "stale/scene.h"

namespace heddle::stale {

struct Finding {
  Verdict verdict = Verdict::kBroken;
  std::string saw;
};

// Situation is a victim at a switch point.
struct Situation {
  const char* victim;
  const char* switch_point;
  Finding (*play)(Scene& scene);
};

// Victims of stale entries between calls; those that a switch inside OpenSSL, or inside the
// application's own code, hits; all of them.
std::span<const Situation> between_situations();
std::span<const Situation> inside_situations();
std::span<const Situation> situations();

// What an outcome says for a victim that ...
Finding expect_waiting(const Outcome& outcome);                // ... has to wait for its peer.
Finding expect_done(const Outcome& outcome);                   // ... can finish.
Finding expect_failure(const Outcome& outcome, Answer truth);  // ... has truly failed in this way.

}  // namespace heddle::stale
