// TLS sessions in Redis: what one server process has agreed on with a client, another resumes.
//
// The session's master secret lies in Redis: whoever reads it there can read recorded TLS 1.2
// connections and take the server's place in resumptions. Reach it over a Unix socket or TLS.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "heddle/tls/callbacks.h"

#include "redis.h"

namespace heddle::example {

// One count per outcome. `skipped`: Redis was not asked, as it had just failed.
struct Outcomes {
  std::uint64_t ok = 0;
  std::uint64_t none = 0;
  std::uint64_t error = 0;
  std::uint64_t skipped = 0;
};

// SessionCache is a SessionStore on Redis. Whatever happens to Redis, the worst that a client
// gets is a full handshake.
class SessionCache {
 public:
  explicit SessionCache(Redis& redis) : redis_(redis) {}
  SessionCache(const SessionCache&) = delete;
  SessionCache& operator=(const SessionCache&) = delete;

  // For Context::set_session_store(). The cache outlives the context's connections.
  SessionStore store();

  // Counters in Prometheus' text format.
  std::string metrics() const;

 private:
  Result<void> put(const ConnectionView& connection, const Session& session);
  Result<std::optional<Session>> get(const ConnectionView& connection, std::string_view id);
  Result<void> remove(std::string_view id, Deadline deadline);

  Redis& redis_;
  Outcomes lookups_;  // ok: a hit. none: a miss.
  Outcomes stores_;
  Outcomes removals_;
};

}  // namespace heddle::example
