// Runtimes full of connections, on one thread or several, and the watchdog.
#include "torture/run.h"

#include <algorithm>
#include <map>

#include "torture/connection.h"
#include "torture/objects.h"

namespace heddle::torture {
namespace {

constexpr int kThreads = 3;
constexpr auto kBeat = std::chrono::milliseconds(20);

std::string describe(const World& world) {
  std::string text;
  for (const Watched* watched : world.live) text += watched->describe();
  return text;
}

}  // namespace

Run::Run(const Options& options, Shared& shared)
    : options_(options),
      shared_(shared),
      end_(WallClock::now() + std::chrono::seconds(options.seconds)) {}

void Run::one_runtime() {
  std::thread watchdog([this] { watch(); });
  live(options_.seed);
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  watchdog.join();
}

// Runtimes come and go on each thread.
void Run::several_threads() {
  std::thread watchdog([this] { watch(); });
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([this, i] {
      Rng rng(options_.seed + static_cast<std::uint64_t>(i));
      while (!over()) live(rng.next());
    });
  }
  for (std::thread& thread : threads) thread.join();
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  watchdog.join();
}

void Run::live(std::uint64_t seed) {
  auto runtime = Runtime::create({.stack_bytes = std::size_t{512} * 1024}).value();
  World world(shared_, runtime, seed);
  World::enter(&world);
  {
    const std::lock_guard lock(mutex_);
    worlds_.push_back(&world);
  }
  bool ended = false;
  (void)runtime.spawn("heartbeat", [&] {
    while (!ended) {
      (void)this_fiber::sleep_until(this_fiber::after(kBeat));
      if (this_fiber::cancelled()) return;
      ++world.beats;
      check(world);
    }
  });
  (void)runtime.spawn("main", [&] {
    scope([&](Scope& s) {
      for (int i = 0; i < options_.connections; ++i) {
        (void)s.spawn("lane", [&] { lane(world, seed); });
      }
      (void)s.spawn("offload", [&] { offload(world, seed); });
    });
    ended = true;
  });
  runtime.run();
  shared_.report.count("runtimes");
  const std::lock_guard lock(mutex_);
  std::erase(worlds_, &world);
}

void Run::lane(World& world, std::uint64_t seed) {
  while (!over() && !world.stopping && !this_fiber::cancelled()) {
    const int id = world.next++;
    if (id % 6 == 5) {
      ObjectConnection(world, id, seed).run();
    } else {
      TortureConnection(world, id, seed).run();
    }
  }
}

// Functions on the pool, most of them too late.
void Run::offload(World& world, std::uint64_t seed) {
  Rng rng(seed + 50);
  while (!over() && !world.stopping && !this_fiber::cancelled()) {
    const std::uint64_t value = rng.next();
    const std::size_t rounds = rng.below(20'000);
    const auto work = [value, rounds] {
      std::uint64_t x = value;
      for (std::size_t i = 0; i < rounds; ++i) x = mix(x);
      if (rounds % 7 == 0) throw Planned();
      return std::make_unique<std::uint64_t>(x - x + value);
    };
    const Deadline deadline = this_fiber::after(Micros(rng.below(3000)));
    const bool abandon = rng.one_in(2);
    try {
      const auto done = abandon ? shared_.pool->run_abandonable(work, deadline)
                                : shared_.pool->run(work, deadline);
      if (done && **done != value) shared_.report.fault("the pool gives another function's result");
    } catch (const Planned&) {
      shared_.report.count("planned exceptions of the pool");
    }
    nap(rng, Micros(20'000));
  }
}

void Run::check(const World& world) const {
  const auto longest = std::chrono::seconds(options_.patience);
  for (const Watched* watched : world.live) {
    if (!watched->hangs(longest)) continue;
    shared_.report.fatal("a connection hangs, the first of these",
                         watched->describe() + "others:\n" + describe(world));
  }
}

void Run::watch() {
  Rng rng(options_.seed + 60);
  std::map<std::uint64_t, std::pair<std::int64_t, WallClock::time_point>> seen;  // By world.
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, std::chrono::milliseconds(20 + rng.below(100)),
                            [this] { return done_; })) {
    const auto now = WallClock::now();
    for (const World* world : worlds_) {
      auto& [beats, when] = seen.try_emplace(world->number, -1, now).first->second;
      if (beats != world->beats) {
        beats = world->beats;
        when = now;
      }
      if (now - when < std::chrono::seconds(options_.patience)) continue;
      // Its thread may change these while they are read, but most likely it does nothing at all.
      shared_.report.fatal("a runtime hangs", describe(*world));
    }
    if (options_.threads) meddle(rng);
  }
}

void Run::meddle(Rng& rng) {
  if (worlds_.empty()) return;
  World& world = *worlds_[rng.below(worlds_.size())];
  switch (rng.below(4)) {
    case 0:
      shared_.change_ticket_keys();
      break;
    case 1:
      (void)shared_.pool->stats();
      world.runtime.post([&world] { world.shared.report.count("posted"); });
      break;
    case 2:
      if (!rng.one_in(5)) break;
      world.stopping = true;
      world.runtime.stop();
      shared_.report.count("stops");
      break;
    default:
      break;
  }
}

}  // namespace heddle::torture
