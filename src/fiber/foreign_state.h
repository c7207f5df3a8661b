// Per-thread state that C and C++ libraries keep behind our back, and that must
// follow the fiber instead of the thread.
#pragma once

#include <cerrno>
#include <cstdint>
#include <utility>

#include <cxxabi.h>

#include "heddle/error_queue.h"
#include "heddle/isolation.h"

namespace heddle::fiber {

// The Itanium C++ ABI fixes the layout (section 2.2.2). Exchanged because
// Boost.Context before 1.88 does not: two fibers that park inside `catch` would
// rethrow each other's exceptions.
struct EhGlobals {
  void* caught = nullptr;
  unsigned int uncaught = 0;
};

// ForeignState is one context's share while it does not run.
struct ForeignState {
  EhGlobals eh;
  int saved_errno = 0;
  ErrorQueue queue;
};

// ThreadState is the running thread's share, where the libraries keep it. The
// addresses are looked up once per thread: fibers do not migrate.
class ThreadState {
 public:
  explicit ThreadState(Isolation isolation) noexcept
      : isolated_(isolation == Isolation::kIsolated) {}

  // To be called by the thread that will switch, before the first switch.
  void attach() noexcept {
    eh_ = reinterpret_cast<EhGlobals*>(abi::__cxa_get_globals());
    errno_ = &errno;
    queue_ = ThreadErrorQueue();
  }

  void save(ForeignState& into) noexcept {
    into.eh = *eh_;
    into.saved_errno = *errno_;
    if (isolated_ && !queue_.empty()) [[unlikely]] {
      into.queue = queue_.set_aside();
      ++exchanges_;
    }
  }

  void restore(ForeignState& from) noexcept {
    *eh_ = from.eh;
    *errno_ = from.saved_errno;
    if (!from.queue.empty()) [[unlikely]] {
      queue_.bring_back(std::move(from.queue));
      ++exchanges_;
    }
  }

  const ThreadErrorQueue& error_queue() const noexcept { return queue_; }

  std::uint64_t exchanges() const noexcept { return exchanges_; }

 private:
  EhGlobals* eh_ = nullptr;
  int* errno_ = nullptr;
  ThreadErrorQueue queue_;
  bool isolated_;
  std::uint64_t exchanges_ = 0;
};

}  // namespace heddle::fiber
