// Simulator: a scheduler on virtual time, with pipes that misbehave on request.
// One seed fixes the whole run: the order of fibers, every fault, every delay.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "heddle/fiber.h"
#include "heddle/isolation.h"
#include "heddle/transport.h"
#include "heddle/wait_queue.h"

#include "fiber/scheduler.h"

namespace heddle::sim {

// World is the Source of the scheduler it owns. Time moves only when no fiber is
// ready, and then straight to the next deadline.
class World final : public fiber::Source {
 public:
  explicit World(std::uint64_t seed, Isolation isolation = Isolation::kIsolated)
      : prng_(seed), scheduler_(*this, {.isolation = isolation}) {}

  fiber::Scheduler& scheduler() { return scheduler_; }

  TimePoint now() const noexcept override { return now_; }
  Deadline after(Duration delay) const { return Deadline::at(now_ + delay); }

  // Time passes although a fiber runs, as it does while one computes.
  void pass(Duration time) { now_ += time; }

  // As Runtime::spawn().
  template <typename Entry>
  auto spawn(std::string name, Entry entry) -> std::shared_ptr<detail::TaskState> {
    std::shared_ptr<detail::TaskState> task = detail::make_task_state(std::move(entry));
    start(std::move(name), task);
    return task;
  }

  void run() { scheduler_.run(); }

  // Runs `entry` in a fiber, and all that it spawns.
  template <typename Entry>
  void run(Entry entry) {
    spawn("main", std::move(entry));
    run();
  }

  // True once in `n` calls, on average. Never for n = 0.
  bool one_in(unsigned n) { return n != 0 && prng_() % n == 0; }
  std::size_t below(std::size_t n) { return prng_() % n; }
  Duration up_to(Duration longest);

 private:
  void start(std::string name, const std::shared_ptr<detail::TaskState>& task);
  void wait(Deadline until) override;
  bool picks() const noexcept override { return true; }
  std::size_t pick(std::size_t count) noexcept override { return prng_() % count; }

  std::mt19937_64 prng_;
  TimePoint now_{};
  fiber::Scheduler scheduler_;
};

// Faults are "one in n" odds; 0 never.
struct Faults {
  unsigned short_io = 0;             // Move 1 byte however many were offered.
  unsigned would_block = 0;          // Refuse although there is room or data.
  unsigned spurious_wake = 0;        // Wake a waiter for nothing.
  std::size_t cut_after = SIZE_MAX;  // Both directions end after this many bytes.
  std::size_t flip_at = SIZE_MAX;    // Flips a bit in a's byte number this.
  std::size_t capacity_of_a = 4096;  // Bytes that a can send ahead of b's reading.
  std::size_t capacity_of_b = 4096;
};

// Pipe joins two Transports in memory.
class Pipe {
 public:
  explicit Pipe(World& world, Faults faults = {})
      : world_(world), faults_(faults), a_(*this, 0), b_(*this, 1) {}

  Transport& a() { return a_; }
  Transport& b() { return b_; }

  // Changes what goes wrong from now on.
  void set_faults(Faults faults) {
    faults_ = faults;
    wake_both();
  }

  // From now on a's (b's) writes fail with EPIPE, and the other reads an end.
  void vanish_a() { a_.vanish(); }
  void vanish_b() { b_.vanish(); }

  std::size_t sent_by_a() const { return a_.sent_total_; }
  std::size_t sent_by_b() const { return b_.sent_total_; }

 private:
  class End final : public Transport {
   public:
    End(Pipe& pipe, int side) : pipe_(pipe), side_(side) {}

    IoResult try_read(std::span<std::byte> into) noexcept override;
    IoResult try_write(std::span<const std::byte> from) noexcept override;
    Wake wait(Interest interest, Deadline deadline) override;
    void shutdown_write() noexcept override;

   private:
    friend class Pipe;

    End& other() { return side_ == 0 ? pipe_.b_ : pipe_.a_; }
    IoResult refuse(Interest what, bool by_fault) noexcept;
    bool has_become_ready(Interest interest);
    void vanish();

    Pipe& pipe_;
    int side_;
    bool read_refused_by_fault_ = false;
    bool write_refused_by_fault_ = false;
    bool ended_ = false;     // Nothing more will be sent.
    bool vanished_ = false;  // And nothing will be read.
    std::size_t sent_total_ = 0;
    std::deque<std::byte> sent_;  // And not yet read by the other end.
    WaitQueue waiters_;
  };

  bool cut() const { return a_.sent_total_ + b_.sent_total_ >= faults_.cut_after; }
  std::size_t limit(std::size_t count) { return world_.one_in(faults_.short_io) ? 1 : count; }
  void wake_both();

  World& world_;
  Faults faults_;
  End a_;
  End b_;
};

}  // namespace heddle::sim
