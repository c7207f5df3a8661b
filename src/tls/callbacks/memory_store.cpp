// A SessionStore in memory.
#include <chrono>
#include <ctime>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "heddle/tls/callbacks.h"
#include "heddle/tls/session.h"

#include "tls/callbacks/session_mark.h"

namespace heddle {
namespace {

// MemoryStore forgets what was put first: sessions of one context all last equally long.
//
// Threads: any.
class MemoryStore {
 public:
  explicit MemoryStore(std::size_t sessions_max) : sessions_max_(sessions_max) {}

  void put(const Session& session) {
    std::string id = session.id();
    const std::lock_guard lock(mutex_);
    drop(id);
    sessions_.push_back({.id = std::move(id), .session = session});
    try {
      by_id_.emplace(sessions_.back().id, std::prev(sessions_.end()));
    } catch (const std::bad_alloc&) {
      sessions_.pop_back();
      throw;
    }
    while (!sessions_.empty() &&
           (sessions_.size() > sessions_max_ || is_over(sessions_.front().session))) {
      by_id_.erase(sessions_.front().id);
      sessions_.pop_front();
    }
  }

  // A copy: a connection that is cut makes the session unusable that it has.
  std::optional<Session> get(std::string_view id) {
    const std::lock_guard lock(mutex_);
    const auto found = by_id_.find(id);
    if (found == by_id_.end() || is_over(found->second->session)) return std::nullopt;
    return tls::copy_of(found->second->session.native_handle());
  }

  void remove(std::string_view id) {
    const std::lock_guard lock(mutex_);
    drop(id);
  }

 private:
  struct Entry {
    std::string id;
    Session session;
  };

  static bool is_over(const Session& session) {
    const auto now = std::chrono::system_clock::from_time_t(std::time(nullptr));
    return now >= session.time() + session.timeout();
  }

  void drop(std::string_view id) {
    const auto found = by_id_.find(id);
    if (found == by_id_.end()) return;
    const auto entry = found->second;
    by_id_.erase(found);
    sessions_.erase(entry);
  }

  const std::size_t sessions_max_;
  std::mutex mutex_;
  std::list<Entry> sessions_;  // The oldest first.
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_id_;
};

}  // namespace

SessionStore memory_session_store(std::size_t sessions_max) {
  const auto memory = std::make_shared<MemoryStore>(sessions_max);
  return {.put =
              [memory](const ConnectionView&, const Session& session) {
                memory->put(session);
                return Result<void>();
              },
          .get = [memory](const ConnectionView&, std::string_view id)
              -> Result<std::optional<Session>> { return memory->get(id); },
          .remove =
              [memory](std::string_view id, Deadline /*deadline*/) {
                memory->remove(id);
                return Result<void>();
              }};
}

}  // namespace heddle
