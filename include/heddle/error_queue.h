// The per-fiber OpenSSL error queue on its own: for other fiber libraries, and for
// programs that call OpenSSL themselves.
//
// OpenSSL keeps one error queue per OS thread. Fibers that share a thread share it, and an entry
// that one of them leaves behind makes SSL_get_error() report another's healthy connection as dead.
// Heddle's own runtime keeps the queues apart (heddle/isolation.h). With another fiber library, do
// as it does at each switch:
//
//   fiber.errno_ = errno;
//   fiber.queue = thread_queue.set_aside();       // Of the fiber that stops running,
//   thread_queue.bring_back(std::move(next.queue));  // of the one that goes on.
//
// A library without a hook at its switches can do the same around each call that parks: set the
// queue aside before it, and bring it back after it. Both keep one fiber's entries away from
// another. A fiber's leftover entries can still harm its own TLS calls: use ErrorQueueScope around
// those.
//
// Works with OpenSSL 3.0 to 3.6 and 4.x. The header includes none of OpenSSL's;
// heddle/error_queue_c.h is the same for C.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "heddle/export.h"

namespace heddle {

// ErrorEntry describes one entry, as ERR_get_error_all(3) shows it.
struct HEDDLE_API ErrorEntry {
  unsigned long code = 0;  // For ERR_GET_LIB(), ERR_GET_REASON().
  std::string file;        // Where OpenSSL raised it.
  int line = 0;
  std::string function;
  std::string data;     // Such as the name of the file that could not be opened.
  bool hidden = false;  // Flagged ERR_FLAG_CLEAR: ERR_peek_error() passes it over. Before 4.0 only.

  // Such as "PEM routines: no start line (Expecting: CERTIFICATE)".
  std::string message() const;
};

// ErrorQueue holds the content of an error queue while it is not the thread's: entries with their
// texts and flags, and the marks of ERR_set_mark(3). An empty one is one null pointer.
//
// Threads: may be moved to another thread and brought back there.
class HEDDLE_API ErrorQueue {
 public:
  ErrorQueue() = default;
  ErrorQueue(const ErrorQueue&) = delete;
  ErrorQueue& operator=(const ErrorQueue&) = delete;
  ErrorQueue(ErrorQueue&&) noexcept = default;
  ErrorQueue& operator=(ErrorQueue&&) noexcept = default;
  ~ErrorQueue() = default;

  bool empty() const noexcept { return content_ == nullptr; }

 private:
  friend class ThreadErrorQueue;
  struct Content;
  struct Delete {
    void operator()(Content* content) const noexcept;
  };

  std::unique_ptr<Content, Delete> content_;
};

// ThreadErrorQueue is the calling thread's queue. Making one costs a call into OpenSSL (16 ns), so
// keep one if you need it often; empty() then takes about a nanosecond before OpenSSL 4.0, and two
// short calls since then.
//
// Threads:  use it on the thread that made it.
// Lifetime: OPENSSL_thread_stop() destroys the queue that it refers to: make another one
//   afterwards.
// Errors:   none. Setting a queue aside allocates memory if there are entries. If that fails, the
//   entries are dropped: their fiber is told less, and no other fiber is blamed for them.
class HEDDLE_API ThreadErrorQueue {
 public:
  ThreadErrorQueue() noexcept;

  // Returns whether there is no entry at all, not even a hidden one. A queue without entries has no
  // marks either: ERR_set_mark() needs an entry to set one on.
  bool empty() const noexcept {
    // Position of the newest entry, and of the one before the oldest.
    return top_ != nullptr ? *top_ == *bottom_ : is_empty_slow();
  }

  // Moves everything out of the thread's queue, which is empty then.
  ErrorQueue set_aside() noexcept { return empty() ? ErrorQueue() : take(); }

  // Puts `queue` in place of whatever the thread's queue holds.
  void bring_back(ErrorQueue queue) noexcept {
    if (queue.empty()) {
      clear();
    } else {
      put(std::move(queue));
    }
  }

  // Exchanges the two.
  void swap(ErrorQueue& queue) noexcept {
    ErrorQueue old = set_aside();
    bring_back(std::move(queue));
    queue = std::move(old);
  }

  // Forgets all entries, if there are any: ERR_clear_error() itself costs about 100 ns on an empty
  // queue.
  void clear() noexcept {
    if (!empty()) clear_slow();
  }

  // Describes what is in the queue, oldest first, and leaves it as it is.
  std::vector<ErrorEntry> entries() const;

 private:
  ErrorQueue take() noexcept;
  void put(ErrorQueue queue) noexcept;
  bool is_empty_slow() const noexcept;
  static void clear_slow() noexcept;

  // Into OpenSSL's ERR_STATE where that is public (before 4.0), else null.
  const int* top_ = nullptr;
  const int* bottom_ = nullptr;
};

// What happens to entries that are in the queue when an ErrorQueueScope ends.
enum class Leftovers : bool {
  kDrop,
  kForbid,  // They are a bug: the process aborts and says what was left, and in which scope.
};

#ifdef NDEBUG
constexpr Leftovers kDefaultLeftovers = Leftovers::kDrop;
#else
constexpr Leftovers kDefaultLeftovers = Leftovers::kForbid;
#endif

// ErrorQueueScope gives a piece of code that calls OpenSSL an empty queue of its own: the old
// content is set aside, and restored at the end of the scope. The code has to read its errors
// before that (ERR_get_error() until it returns 0, or ERR_clear_error() for those it does not
// want).
//
// Fibers:   may park within, on a runtime that keeps the queues apart. Scopes nest.
// Threads:  ends on the thread on which it began.
class HEDDLE_API ErrorQueueScope {
 public:
  explicit ErrorQueueScope(Leftovers leftovers = kDefaultLeftovers,
                           const char* file = __builtin_FILE(),
                           int line = __builtin_LINE()) noexcept
      : before_(thread_.set_aside()), leftovers_(leftovers), file_(file), line_(line) {}
  ErrorQueueScope(const ErrorQueueScope&) = delete;
  ErrorQueueScope& operator=(const ErrorQueueScope&) = delete;
  ~ErrorQueueScope() {
    if (leftovers_ == Leftovers::kForbid && !thread_.empty()) forbid_leftovers();
    thread_.bring_back(std::move(before_));
  }

 private:
  void forbid_leftovers() const noexcept;

  ThreadErrorQueue thread_;
  ErrorQueue before_;
  Leftovers leftovers_;
  const char* file_;
  int line_;
};

}  // namespace heddle
