// Scenarios, and what becomes of them.
#include <csignal>
#include <exception>

#include <fnmatch.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "heddle/stale.h"

#include "base/assert.h"
#include "stale/expectations.h"
#include "stale/leakers.h"
#include "stale/scene.h"
#include "stale/victims.h"

namespace heddle::stale {
namespace {

// A socket BIO writes with write(2), which raises SIGPIPE.
class IgnoreSigpipe {
 public:
  IgnoreSigpipe() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &ignore, &before_);
  }
  IgnoreSigpipe(const IgnoreSigpipe&) = delete;
  IgnoreSigpipe& operator=(const IgnoreSigpipe&) = delete;
  ~IgnoreSigpipe() { (void)sigaction(SIGPIPE, &before_, nullptr); }

 private:
  struct sigaction before_ {};
};

const LeakerKind* find_leaker(const std::string& name) {
  for (const LeakerKind& kind : leaker_kinds()) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

const Situation* find_situation(const Scenario& scenario) {
  for (const Situation& situation : situations()) {
    if (situation.victim == scenario.victim && situation.switch_point == scenario.switch_point) {
      return &situation;
    }
  }
  return nullptr;
}

Leaves what_was_left(const Scene& scene) {
  if (scene.left().empty()) return Leaves::kNothing;
  return ERR_SYSTEM_ERROR(scene.left().front().code) ? Leaves::kSystem : Leaves::kOther;
}

// A leaker that leaves something else than the table says would make every cell a lie.
void check_leaker(const Scene& scene, const LeakerFacts& facts) {
  if (!scene.origin() || scene.kind().through_stack) return;
  const Leaves visible = facts.leaves == Leaves::kHidden ? Leaves::kNothing : facts.leaves;
  require(what_was_left(scene) == visible, "the leaker did not leave what is known of it");
}

Finding play(const Situation& situation, Scene& scene, const LeakerFacts& facts) {
  Finding finding;
  try {
    finding = situation.play(scene);
    check_leaker(scene, facts);
  } catch (const Skip& skip) {
    finding = {Verdict::kSkipped, skip.what()};
  } catch (const std::exception& error) {
    finding = {Verdict::kBroken, error.what()};
  }
  try {
    scene.end();
  } catch (const std::exception& error) {
    if (finding.verdict != Verdict::kBroken) finding = {Verdict::kBroken, error.what()};
  }
  ERR_clear_error();  // What lies there is of this fiber, which ends.
  return finding;
}

// Scenes differ from each other, and are the same whatever else is run.
std::uint64_t seed_of(const Scenario& scenario, std::uint64_t seed) {
  for (const char character : scenario.id()) {  // FNV-1a.
    seed = (seed ^ static_cast<unsigned char>(character)) * 0x100000001b3ULL;
  }
  return seed;
}

}  // namespace

Cell run(Stack& stack, const Scenario& scenario, std::uint64_t seed) {
  const LeakerKind* const kind = find_leaker(scenario.leaker);
  const Situation* const situation = find_situation(scenario);
  HEDDLE_ASSERT(kind != nullptr && situation != nullptr);
  const IgnoreSigpipe ignore_sigpipe;
  const ErrorQueueScope scope(Leftovers::kDrop);
  (void)materials();
  const unsigned long openssl = OpenSSL_version_num();
  LeakerFacts facts = facts_of(scenario.leaker, openssl);
  Cell cell{.scenario = scenario, .stack = std::string(stack.name()), .claims = stack.claims()};
  try {
    stack.run([&] {
      Scene scene(stack, *kind, seed_of(scenario, seed));
      const Finding finding = play(*situation, scene, facts);
      cell.verdict = finding.verdict;
      cell.saw = finding.saw;
      if (!scene.left().empty()) cell.entry = scene.left().front();
      cell.left_by = scene.origin();
      if (kind->through_stack) facts.leaves = what_was_left(scene);
    });
  } catch (const std::exception& error) {
    cell.saw = error.what();
  }
  cell.expected = expected_verdict(scenario, facts, stack.claims(), openssl);
  return cell;
}

Report run(Stack& stack, std::span<const Scenario> scenarios, std::uint64_t seed) {
  Report report{.openssl = openssl_version(), .seed = seed, .cells = {}};
  for (const Scenario& scenario : scenarios) report.cells.push_back(run(stack, scenario, seed));
  return report;
}

std::vector<Scenario> scenarios(const std::string& pattern) {
  std::vector<Scenario> chosen;
  for (const Situation& situation : situations()) {
    for (const LeakerKind& kind : leaker_kinds()) {
      Scenario scenario{kind.name, situation.victim, situation.switch_point};
      if (fnmatch(pattern.c_str(), scenario.id().c_str(), 0) != 0) continue;
      chosen.push_back(std::move(scenario));
    }
  }
  return chosen;
}

std::string openssl_version() {
  return OpenSSL_version(OPENSSL_VERSION);
}

}  // namespace heddle::stale
