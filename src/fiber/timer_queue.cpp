// A binary heap whose entries know where they are, so that one can be moved.
#include "fiber/timer_queue.h"

#include <algorithm>

#include "fiber/fiber.h"

namespace heddle::fiber {

void TimerQueue::reserve(std::size_t fibers) {
  if (fibers > heap_.capacity()) heap_.reserve(std::max(fibers, 2 * heap_.capacity()));
}

void TimerQueue::arm(Fiber& fiber, Deadline deadline) noexcept {
  if (fiber.timer_index == Fiber::kNoTimer) {
    heap_.emplace_back();
    sift_up(heap_.size() - 1, {deadline.time(), &fiber});
  } else if (deadline.time() < heap_[fiber.timer_index].due) {
    sift_up(fiber.timer_index, {deadline.time(), &fiber});
  }
}

void TimerQueue::remove(Fiber& fiber) noexcept {
  if (fiber.timer_index != Fiber::kNoTimer) erase(fiber.timer_index);
}

Fiber* TimerQueue::pop_due(TimePoint now) {
  while (!heap_.empty() && heap_.front().due <= now) {
    Fiber& fiber = *heap_.front().fiber;
    if (fiber.deadline.is_never()) {
      erase(0);
    } else if (fiber.deadline.time() <= now) {
      erase(0);
      return &fiber;
    } else {
      sift_down(0, {fiber.deadline.time(), &fiber});
    }
  }
  return nullptr;
}

void TimerQueue::place(std::size_t index, Entry entry) noexcept {
  heap_[index] = entry;
  entry.fiber->timer_index = index;
}

void TimerQueue::sift_up(std::size_t index, Entry entry) noexcept {
  while (index > 0) {
    const std::size_t parent = (index - 1) / 2;
    if (heap_[parent].due <= entry.due) break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, entry);
}

void TimerQueue::sift_down(std::size_t index, Entry entry) noexcept {
  for (;;) {
    std::size_t child = 2 * index + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1].due < heap_[child].due) ++child;
    if (entry.due <= heap_[child].due) break;
    place(index, heap_[child]);
    index = child;
  }
  place(index, entry);
}

void TimerQueue::erase(std::size_t index) noexcept {
  heap_[index].fiber->timer_index = Fiber::kNoTimer;
  const Entry last = heap_.back();
  heap_.pop_back();
  if (index == heap_.size()) return;
  if (index > 0 && last.due < heap_[(index - 1) / 2].due) {
    sift_up(index, last);
  } else {
    sift_down(index, last);
  }
}

}  // namespace heddle::fiber
