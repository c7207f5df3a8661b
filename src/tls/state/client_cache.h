// The sessions that a client's Context keeps for the next connections.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/tls/session.h"

namespace heddle::tls {

// ClientCache finds sessions by a key: the mark of the connection and its scope.
//
// Threads: any.
class ClientCache {
 public:
  explicit ClientCache(const SessionCache& limits) : limits_(limits) {}

  // The newest session that has not timed out. One of TLS 1.3 is not given out again (RFC 8446,
  // C.4): whoever is on the way could tell that two connections belong together.
  std::optional<Session> take(const std::string& key);
  // One of TLS 1.2 takes the place of all of its server's.
  void add(const std::string& key, const Session& session);
  void remove(const std::string& key, const Session& session) noexcept;
  void remove(const std::string& key) noexcept;

 private:
  struct Server {
    std::string key;
    std::vector<Session> sessions;  // The newest last.
  };
  using Servers = std::list<Server>;

  const SessionCache limits_;
  std::mutex mutex_;
  Servers servers_;                                       // The one that was used last comes first.
  std::map<std::string_view, Servers::iterator> by_key_;  // Keys are those of servers_.
};

// Offer is a session of a cache that a client has offered. If it goes while the handshake is not
// done, the session is forgotten: a server that cannot go on with it would fail for good.
class Offer {
 public:
  Offer(std::shared_ptr<ClientCache> cache, std::string key, Session session)
      : cache_(std::move(cache)), key_(std::move(key)), session_(std::move(session)) {}
  Offer(const Offer&) = delete;
  Offer& operator=(const Offer&) = delete;
  ~Offer() {
    if (cache_) cache_->remove(key_, session_);
  }

  void have_succeeded() noexcept { cache_.reset(); }

 private:
  std::shared_ptr<ClientCache> cache_;
  std::string key_;
  Session session_;
};

}  // namespace heddle::tls
