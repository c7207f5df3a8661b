// Moving error queues between the thread and its fibers.
#include "heddle/error_queue.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <tuple>

#include "openssl/error.h"
#include "openssl/version.h"

namespace heddle {

namespace version = openssl::version;

struct ErrorQueue::Content : version::QueueContent {};

void ErrorQueue::Delete::operator()(Content* content) const noexcept {
  delete content;
}

ThreadErrorQueue::ThreadErrorQueue() noexcept {
  std::tie(top_, bottom_) = version::queue_ends();
}

ErrorQueue ThreadErrorQueue::take() noexcept {
  ErrorQueue queue;
  queue.content_.reset(new (std::nothrow) ErrorQueue::Content);
  if (queue.content_ != nullptr) {
    queue.content_->take();
  } else {
    // A switch cannot fail, and entries that stayed would blame the wrong fiber.
    clear_slow();
  }
  return queue;
}

void ThreadErrorQueue::put(ErrorQueue queue) noexcept {
  queue.content_->put();
}

bool ThreadErrorQueue::is_empty_slow() const noexcept {
  return version::queue_is_empty();
}

void ThreadErrorQueue::clear_slow() noexcept {
  ERR_clear_error();
}

std::vector<ErrorEntry> ThreadErrorQueue::entries() const {
  if (empty()) return {};
  version::QueueContent content;
  content.take();
  std::vector<ErrorEntry> entries = content.entries();
  content.put();
  return entries;
}

std::string ErrorEntry::message() const {
  std::string text = openssl::describe_entry(code);
  if (!data.empty()) text.append(" (").append(data).append(")");
  return text;
}

void ErrorQueueScope::forbid_leftovers() const noexcept {
  const std::vector<ErrorEntry> entries = thread_.entries();
  // Operations that succeed leave hidden ones, and nobody can read those.
  const auto oldest = std::find_if(entries.begin(), entries.end(),
                                   [](const ErrorEntry& entry) { return !entry.hidden; });
  if (oldest == entries.end()) return;
  (void)std::fprintf(stderr,
                     "%s:%d: an ErrorQueueScope ends with an OpenSSL error that nobody has read: "
                     // tidy: says what to do.
                     "%s, from %s:%d; read it with ERR_get_error(), or drop it with "
                     "ERR_clear_error() or Leftovers::kDrop\n",
                     file_, line_, oldest->message().c_str(), oldest->file.c_str(), oldest->line);
  std::abort();
}

}  // namespace heddle
