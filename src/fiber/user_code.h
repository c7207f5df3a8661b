// Calling code that is not the library's: every such call goes through here.
#pragma once

#include <functional>
#include <optional>
#include <utility>

#include "heddle/error_queue.h"
#include "heddle/isolation.h"

#include "fiber/scheduler.h"

namespace heddle::fiber {

// UserCodeScope gives the program's code an empty OpenSSL error queue, and drops what the code
// leaves in it. What was there before is the queue again afterwards. Without it, an entry that a
// transport or a posted function leaves would be found by the next TLS call of the thread.
//
// It costs about two nanoseconds while the queue is empty. Under Isolation::kShared and kClear it
// does nothing: those show the bug. Threads without a runtime are isolated.
//
// Fibers: the code may park.
class UserCodeScope {
 public:
  UserCodeScope() noexcept {
    if (const Scheduler* const scheduler = Scheduler::current_or_null()) [[likely]] {
      if (scheduler->isolation() != Isolation::kIsolated) return;
      queue_ = &scheduler->error_queue();
    } else {
      queue_ = &of_thread_.emplace();
    }
    if (!queue_->empty()) [[unlikely]]
      before_ = ThreadErrorQueue(*queue_).set_aside();
  }
  UserCodeScope(const UserCodeScope&) = delete;
  UserCodeScope& operator=(const UserCodeScope&) = delete;
  ~UserCodeScope() {
    if (queue_ == nullptr) return;
    if (of_thread_) [[unlikely]]
      of_thread_.emplace();  // The code may have called OPENSSL_thread_stop().
    if (!queue_->empty() || !before_.empty()) [[unlikely]]
      ThreadErrorQueue(*queue_).bring_back(std::move(before_));
  }

 private:
  const ThreadErrorQueue* queue_ = nullptr;    // The scheduler's, or of_thread_. Null: do nothing.
  std::optional<ThreadErrorQueue> of_thread_;  // Without a scheduler.
  ErrorQueue before_;
};

// Calls a function of the program's.
template <typename Function, typename... Arguments>
decltype(auto) call_user(Function&& function, Arguments&&... arguments) {
  const UserCodeScope scope;
  return std::invoke(std::forward<Function>(function), std::forward<Arguments>(arguments)...);
}

}  // namespace heddle::fiber
