// Reactor: epoll, the clock, and work posted from other threads.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/transport.h"

#include "base/unique_fd.h"
#include "fiber/scheduler.h"

struct epoll_event;

namespace heddle::io {

class Pollable;

// Reactor is the scheduler's Source in production. One epoll instance, edge-triggered,
// each descriptor registered once for both directions.
//
// Threads: one, but for post().
class Reactor final : public fiber::Source {
 public:
  static Result<std::unique_ptr<Reactor>> create();

  // Of the last look for events. Asking the clock costs more than a fiber switch.
  TimePoint now() const noexcept override { return now_; }
  TimePoint look_at_clock() noexcept override;

  // Precondition: called on the thread's own stack, by the scheduler. Throws what posted work
  // throws; what was posted behind it is run by the next call.
  void wait(Deadline until) override;

  void post(fiber::Posted work) noexcept override;

  // Ends the process if it is a child of the one that made the reactor. Both have the one epoll
  // instance then, and would take each other's events away.
  void forbid_after_fork() const noexcept;
  bool is_this_process() const noexcept;  // False in such a child.

  std::uint64_t polls() const noexcept { return polls_; }

 private:
  friend class Pollable;

  // A registration's place in the table, and which registration it is: an event may
  // come for one that is gone, if the descriptor lives on in a forked process.
  struct Token {
    std::uint32_t index;
    std::uint32_t generation;
  };
  struct Slot {
    Pollable* pollable = nullptr;
    std::uint32_t generation = 0;
  };

  static constexpr std::uint32_t kPostedIndex = 0;  // The eventfd's.

  Reactor(UniqueFd epoll, UniqueFd posted);

  // Returns 0 or the errno.
  int add(Pollable& pollable, int fd, Token& added);
  void remove(const Token& token) noexcept;
  int register_with_epoll(int fd, epoll_event& events);
  void take_posted();
  void run_due();

  const unsigned process_;  // How many fork() calls lie between the first process and ours.
  UniqueFd epoll_;
  UniqueFd event_;
  TimePoint now_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_slots_;
  std::uint64_t polls_ = 0;

  fiber::Posted due_;  // Taken over and not yet run: one of them has thrown.

  std::mutex mutex_;  // Guards posted_.
  fiber::Posted posted_;
};

// Pollable is a descriptor with the reactor's knowledge of it. It owns both.
//
// Fibers:   one may wait for reading while another waits for writing.
// Lifetime: the reactor outlives it; no fiber waits at destruction.
class Pollable {
 public:
  // Registers `fd`, which must be non-blocking. kExhausted: epoll has no room.
  static Result<std::unique_ptr<Pollable>> create(Reactor& reactor, UniqueFd fd);

  Pollable(const Pollable&) = delete;
  Pollable& operator=(const Pollable&) = delete;
  ~Pollable();

  int fd() const noexcept { return fd_.get(); }
  Reactor& reactor() const noexcept { return reactor_; }

  // Parks until a flag below is set that `interest` names; at once if one is.
  Wake wait(Interest interest, Deadline deadline);

  // Closes the descriptor now. Fibers that wait are woken, and find that fd() is -1.
  void close() noexcept;

  // Takes the registration back, for a descriptor of which others have duplicates: it would go on
  // without us. Not to be waited for afterwards. Does nothing after fork(), in the child.
  void unregister() noexcept;

  // Whether it is worth asking the kernel. Set by events; cleared by whoever
  // finds the descriptor drained (or full): the next event comes only after that.
  bool readable = false;
  bool writable = false;

  // Whether a read that returns less than was asked for has taken all there was. Not with an end or
  // error that is still to be read, nor where recv(2) stops early: before urgent data and passed
  // descriptors.
  bool short_read_drains = true;

  // Kernel TLS: closing the descriptor sends records, without MSG_NOSIGNAL.
  bool close_sends = false;

 private:
  friend class Reactor;

  Pollable(Reactor& reactor, UniqueFd fd) : reactor_(reactor), fd_(std::move(fd)) {}
  void notify(std::uint32_t events) noexcept;

  Reactor& reactor_;
  UniqueFd fd_;
  Reactor::Token token_{};
  fiber::Fiber* reader_ = nullptr;
  fiber::Fiber* writer_ = nullptr;
};

}  // namespace heddle::io
