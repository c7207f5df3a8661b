// Random numbers, the pattern, the report.
#include "torture/world.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "torture/contexts.h"

namespace heddle::torture {
namespace {
thread_local World* t_world = nullptr;
std::atomic<std::uint64_t> worlds{0};
}  // namespace

Rng::Rng(std::uint64_t seed) : engine_(mix(seed + 0x9e3779b97f4a7c15U)) {}

std::size_t Rng::size(std::size_t max) {
  std::uniform_real_distribution<double> exponent(0, std::log2(static_cast<double>(max)));
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::exp2(exponent(engine_))));
}

// The end of MurmurHash3.
std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 33U;
  x *= 0xff51afd7ed558ccdU;
  x ^= x >> 33U;
  x *= 0xc4ceb9fe1a85ec53U;
  x ^= x >> 33U;
  return x;
}

std::byte pattern_at(std::uint64_t seed, std::uint64_t position) {
  return static_cast<std::byte>(mix(seed ^ (position >> 3U)) >> ((position & 7U) * 8));
}

std::vector<std::byte> pattern(std::uint64_t seed, std::uint64_t position, std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = pattern_at(seed, position++);
  return bytes;
}

void Report::fault(const std::string& what) {
  const std::lock_guard lock(mutex_);
  ++faults_;
  std::fprintf(stderr, "FAULT (seed %llu): %s\n", static_cast<unsigned long long>(seed_),
               what.c_str());
}

// No destructor runs: fibers are still parked, and maybe the thread of the runtime hangs.
void Report::fatal(const std::string& what, const std::string& details) {
  fault(what);
  std::fputs(details.c_str(), stderr);
  std::_Exit(1);
}

void Report::count(const std::string& what) {
  const std::lock_guard lock(mutex_);
  ++counts_[what];
}

std::size_t Report::faults() const {
  const std::lock_guard lock(mutex_);
  return faults_;
}

void Report::print() const {
  const std::lock_guard lock(mutex_);
  std::printf("seed %llu: %zu faults\n", static_cast<unsigned long long>(seed_), faults_);
  for (const auto& [what, times] : counts_) std::printf("  %8ld %s\n", times, what.c_str());
}

World::World(Shared& what, Runtime& where, std::uint64_t seed)
    : number(worlds++), shared(what), runtime(where), rng(seed) {}

World& World::here() {
  return *t_world;
}
void World::enter(World* world) {
  t_world = world;
}

EntriesCheck::EntriesCheck(Report& report, Rng& rng) : report_(report) {
  if (!rng.one_in(3)) return;
  ERR_raise(ERR_LIB_USER, static_cast<int>(100 + rng.below(900)));
  code_ = ERR_peek_last_error();
}

void EntriesCheck::done(const char* call) {
  const unsigned long first = ERR_get_error();
  if (first != code_) {
    report_.fault(std::string("error queue after ") + call + ": found " + std::to_string(first) +
                  ", expected " + std::to_string(code_));
  } else if (ERR_peek_error() != 0) {
    report_.fault(std::string("error queue after ") + call + ": more than the caller left there");
  }
  ERR_clear_error();
}

void nap(Rng& rng, Micros most) {
  const Micros delay(rng.below(static_cast<std::size_t>(most.count())));
  (void)this_fiber::sleep_until(this_fiber::after(delay));
}

RandomConnection::RandomConnection(World& world, int id, std::uint64_t seed)
    : world_(world),
      report_(world.shared.report),
      id_(id),
      seed_(mix(seed * 1'000'003 + static_cast<std::uint64_t>(id))),
      rng_(seed_) {
  world_.live.push_back(this);
}

RandomConnection::~RandomConnection() {
  std::erase(world_.live, this);
}

void RandomConnection::fault(const std::string& what) {
  report_.fault("connection " + std::to_string(id_) + ", " + name_ + ": " + what);
}

}  // namespace heddle::torture
