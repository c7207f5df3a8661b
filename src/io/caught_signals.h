// CaughtSignals: which signals the process catches for Signals, and which have come.
#pragma once

#include <csignal>
#include <initializer_list>
#include <memory>

#include "heddle/result.h"

#include "base/unique_fd.h"

namespace heddle::io {

// While a CaughtSignals lives, the process handles the signals that it names. Each signal that has
// come is kept until a CaughtSignals that names it takes it. Nothing is blocked meanwhile, since
// processes that the program starts would inherit that: exec resets handlers, but no mask.
//
// Threads: destroyed on the thread that made it, in whose mask it clears the signals.
class CaughtSignals {
 public:
  // Fails with kInvalid for a signal that has no handler (sigaction(2)), or of which a handler
  // cannot return, and with kExhausted without descriptors.
  static Result<std::unique_ptr<CaughtSignals>> create(std::initializer_list<int> signals);

  CaughtSignals(const CaughtSignals&) = delete;
  CaughtSignals& operator=(const CaughtSignals&) = delete;
  ~CaughtSignals();

  // The lowest of its signals that has come and that nobody has taken, or 0.
  int take() noexcept;

  // An eventfd(2) that nobody reads. Each signal, whoever names it, is one more edge of EPOLLIN.
  Result<UniqueFd> duplicate_event() const;

 private:
  CaughtSignals() noexcept;

  bool holds(int signal) const noexcept { return sigismember(&signals_, signal) == 1; }
  int add(int signal);
  void unblock() noexcept;
  void restore_mask() noexcept;
  void remove() noexcept;

  const unsigned process_;
  sigset_t signals_{};
  bool is_unblocked_ = false;
};

}  // namespace heddle::io
