// The thread's OpenSSL error queue, and queues set aside from it: whole, with
// marks, flags and texts. Nothing of OpenSSL's is included here, so that the
// scheduler can use it.
#pragma once

#include <memory>
#include <utility>

namespace heddle::openssl {

// SavedQueue holds the content of an error queue that is not the thread's at the
// moment. Empty costs one null pointer.
class SavedQueue {
 public:
  SavedQueue() = default;
  SavedQueue(const SavedQueue&) = delete;
  SavedQueue& operator=(const SavedQueue&) = delete;
  SavedQueue(SavedQueue&&) noexcept = default;
  SavedQueue& operator=(SavedQueue&&) noexcept = default;
  ~SavedQueue() = default;

  bool empty() const noexcept { return content_ == nullptr; }

 private:
  friend class ThreadQueue;
  struct Content;
  struct Delete {
    void operator()(Content* content) const noexcept;
  };

  std::unique_ptr<Content, Delete> content_;
};

// ThreadQueue is the calling thread's queue. Finding it costs a call into
// OpenSSL, so whoever needs it often keeps one.
//
// Threads:  use it on the thread that made it.
// Lifetime: OPENSSL_thread_stop() ends it with the queue itself: do not call that
//   on a thread whose runtime goes on.
class ThreadQueue {
 public:
  ThreadQueue() noexcept;

  // Whether there is no entry at all, be it one that ERR_peek_error() hides
  // (ERR_FLAG_CLEAR). A queue without entries has no marks either.
  bool empty() const noexcept {
    // Position of the newest entry, and of the one before the oldest.
    return top_ != nullptr ? *top_ == *bottom_ : is_empty_slow();
  }

  // Moves everything out of the thread's queue, which is empty then.
  // Precondition: !empty().
  SavedQueue take() noexcept;

  // Puts a queue back in place of whatever the thread's queue holds.
  // Precondition: !saved.empty().
  void put(SavedQueue saved) noexcept;

  // Forgets all entries, if there are any: ERR_clear_error() itself costs about
  // 100 ns on an empty queue.
  void clear() noexcept {
    if (!empty()) clear_slow();
  }

 private:
  bool is_empty_slow() const noexcept;
  static void clear_slow() noexcept;

  // Into OpenSSL's ERR_STATE where that is public (before 4.0), else null.
  const int* top_ = nullptr;
  const int* bottom_ = nullptr;
};

// QueueGuard sets the thread's entries aside while it lives, so that what happens
// meanwhile starts with an empty queue; then drops what was added and brings them
// back. For calls into OpenSSL whose entries are read on the spot.
class QueueGuard {
 public:
  QueueGuard() noexcept {
    if (!thread_.empty()) saved_ = thread_.take();
  }
  QueueGuard(const QueueGuard&) = delete;
  QueueGuard& operator=(const QueueGuard&) = delete;
  ~QueueGuard() {
    if (!saved_.empty()) {
      thread_.put(std::move(saved_));
    } else {
      thread_.clear();
    }
  }

 private:
  ThreadQueue thread_;
  SavedQueue saved_;
};

}  // namespace heddle::openssl
