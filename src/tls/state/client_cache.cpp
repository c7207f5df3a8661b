// Keeping a client's sessions.
#include "tls/state/client_cache.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include <openssl/ssl.h>

namespace heddle::tls {
namespace {

bool is_of_tls13(const Session& session) {
  return SSL_SESSION_get_protocol_version(session.native_handle()) >= TLS1_3_VERSION;
}

// Of what OpenSSL would not offer, or the server not take.
bool is_over(const Session& session) {
  using std::chrono::seconds;
  const seconds hint = session.ticket_lifetime_hint();
  const seconds timeout = session.timeout();
  const seconds lasts = hint > seconds(0) ? std::min(hint, timeout) : timeout;
  return std::chrono::system_clock::from_time_t(std::time(nullptr)) >= session.time() + lasts;
}

}  // namespace

std::optional<Session> ClientCache::take(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return std::nullopt;
  servers_.splice(servers_.begin(), servers_, found->second);
  std::vector<Session>& sessions = found->second->sessions;
  sessions.erase(std::remove_if(sessions.begin(), sessions.end(), is_over), sessions.end());
  if (sessions.empty()) return std::nullopt;
  Session newest = sessions.back();
  if (is_of_tls13(newest)) sessions.pop_back();
  return newest;
}

void ClientCache::add(const std::string& key, const Session& session) {
  if (!session.is_resumable()) return;
  const std::lock_guard lock(mutex_);
  auto found = by_key_.find(key);
  if (found == by_key_.end()) {
    servers_.push_front({.key = key, .sessions = {}});
    found = by_key_.emplace(servers_.front().key, servers_.begin()).first;
  } else {
    servers_.splice(servers_.begin(), servers_, found->second);
  }
  std::vector<Session>& sessions = found->second->sessions;
  if (!is_of_tls13(session)) sessions.clear();
  if (sessions.size() == limits_.sessions_per_server) sessions.erase(sessions.begin());
  sessions.push_back(session);
  if (servers_.size() > limits_.servers_max) {
    by_key_.erase(servers_.back().key);
    servers_.pop_back();
  }
}

void ClientCache::remove(const std::string& key, const Session& session) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return;
  std::vector<Session>& sessions = found->second->sessions;
  const auto same = [&](const Session& each) {
    return each.native_handle() == session.native_handle();
  };
  sessions.erase(std::remove_if(sessions.begin(), sessions.end(), same), sessions.end());
}

void ClientCache::remove(const std::string& key) noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return;
  const auto server = found->second;
  by_key_.erase(found);
  servers_.erase(server);
}

}  // namespace heddle::tls
