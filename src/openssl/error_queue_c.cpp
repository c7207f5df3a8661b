// The C interface of the error queue: an owning pointer more, and nothing else.
#include "heddle/error_queue_c.h"

#include <utility>

#include "heddle/error_queue.h"

using heddle::ErrorQueue;
using heddle::ThreadErrorQueue;

struct heddle_error_queue {
  ErrorQueue queue;
};

namespace {

heddle_error_queue* own(ErrorQueue queue) {
  return queue.empty() ? nullptr : new heddle_error_queue{std::move(queue)};
}

ErrorQueue disown(heddle_error_queue* owned) {
  if (owned == nullptr) return {};
  ErrorQueue queue = std::move(owned->queue);
  delete owned;
  return queue;
}

}  // namespace

extern "C" {

int heddle_error_queue_is_empty(void) {
  return ThreadErrorQueue().empty() ? 1 : 0;
}

heddle_error_queue* heddle_error_queue_set_aside(void) {
  return own(ThreadErrorQueue().set_aside());
}

void heddle_error_queue_bring_back(heddle_error_queue* queue) {
  ThreadErrorQueue().bring_back(disown(queue));
}

heddle_error_queue* heddle_error_queue_swap(heddle_error_queue* queue) {
  ErrorQueue content = disown(queue);
  ThreadErrorQueue().swap(content);
  return own(std::move(content));
}

void heddle_error_queue_free(heddle_error_queue* queue) {
  (void)disown(queue);
}

void heddle_error_queue_clear(void) {
  ThreadErrorQueue().clear();
}

}  // extern "C"
