// TimerQueue: which fiber's deadline comes first.
#pragma once

#include <cstddef>
#include <vector>

#include "heddle/deadline.h"

namespace heddle::fiber {

class Fiber;

// TimerQueue is a binary heap with at most one entry per fiber, and lazy: most
// deadlines are never reached, so an entry stays when its fiber is woken, and
// stays early when the fiber's next deadline is later. Parking again and again
// with a deadline that moves on costs one comparison. An entry that comes due is
// checked against what its fiber wants by then.
class TimerQueue {
 public:
  // Makes room for the entries of so many fibers. Throws std::bad_alloc.
  void reserve(std::size_t fibers);

  // Makes sure that an entry comes due at `deadline` or before. Precondition: there is room for it.
  void arm(Fiber& fiber, Deadline deadline) noexcept;

  // Forgets the fiber.
  void remove(Fiber& fiber) noexcept;

  // When to look again: never later than the earliest deadline.
  Deadline next() const noexcept {
    return heap_.empty() ? Deadline::never() : Deadline::at(heap_.front().due);
  }

  // Returns a fiber whose deadline has passed, or null if there is none (more).
  Fiber* pop_due(TimePoint now);

 private:
  struct Entry {
    TimePoint due;
    Fiber* fiber;
  };

  void place(std::size_t index, Entry entry) noexcept;
  void sift_up(std::size_t index, Entry entry) noexcept;
  void sift_down(std::size_t index, Entry entry) noexcept;
  void erase(std::size_t index) noexcept;

  std::vector<Entry> heap_;
};

}  // namespace heddle::fiber
