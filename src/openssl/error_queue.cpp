// Moving error queues between the thread and its fibers.
#include "openssl/error_queue.h"

#include <new>
#include <tuple>

#include "base/assert.h"
#include "openssl/version.h"

namespace heddle::openssl {

struct SavedQueue::Content : version::QueueContent {};

void SavedQueue::Delete::operator()(Content* content) const noexcept {
  delete content;
}

ThreadQueue::ThreadQueue() noexcept {
  std::tie(top_, bottom_) = version::queue_ends();
}

SavedQueue ThreadQueue::take() noexcept {
  SavedQueue saved;
  saved.content_.reset(new (std::nothrow) SavedQueue::Content);
  // A switch cannot fail, and going on without would blame the wrong fiber.
  HEDDLE_ASSERT(saved.content_ != nullptr);
  saved.content_->take();
  return saved;
}

void ThreadQueue::put(SavedQueue saved) noexcept {
  saved.content_->put();
}

bool ThreadQueue::is_empty_slow() const noexcept {
  return version::queue_is_empty();
}

void ThreadQueue::clear_slow() noexcept {
  ERR_clear_error();
}

}  // namespace heddle::openssl
