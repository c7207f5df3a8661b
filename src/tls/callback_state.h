// What OpenSSL's callbacks find behind an SSL or SSL_CTX.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "heddle/tls/callbacks.h"

#include "openssl/handles.h"

namespace heddle::tls {

// Removals are the sessions that OpenSSL has given up, until somebody can be told.
class Removals {
 public:
  void add(std::string id);
  bool empty() const noexcept { return empty_.load(std::memory_order_relaxed); }
  std::vector<std::string> take();

 private:
  std::atomic<bool> empty_ = true;
  std::mutex mutex_;  // Streams of several threads share a context.
  std::vector<std::string> ids_;
};

// TicketKeyRing is a set of ticket keys that may be exchanged while others use it.
class TicketKeyRing {
 public:
  using Keys = std::shared_ptr<const std::vector<TicketKey>>;

  void set(std::vector<TicketKey> keys);
  Keys get() const;

 private:
  mutable std::mutex mutex_;
  Keys keys_ = std::make_shared<const std::vector<TicketKey>>();
};

// CallbackState holds the functions that a Context was given. The SSL_CTX owns it, so it is there
// as long as any SSL is, be it of our making or not.
struct CallbackState {
  // Makes one for `ctx`. Throws std::bad_alloc.
  static CallbackState& attach(SSL_CTX* ctx);
  // Precondition: attach() has been called.
  static CallbackState& of(const SSL_CTX* ctx) noexcept;
  // Of the context that `ssl` uses now.
  static CallbackState& of(const SSL* ssl) noexcept { return of(SSL_get_SSL_CTX(ssl)); }
  // Of the context that `ssl` began with: OpenSSL leaves sessions and tickets there, even if a
  // callback has chosen another one since.
  static CallbackState& of_sessions(const SSL* ssl) noexcept;

  NewSessionCallback new_session;
  SessionStore store;
  Removals removals;
  TicketKeysCallback ticket_keys;
  TicketKeyRing ticket_key_ring;
};

// HelloState is what is remembered of a client's first hello.
struct HelloState {
  // Null before attach().
  static HelloState* of(const SSL* ssl) noexcept;
  // Throws std::bad_alloc.
  static HelloState& attach(SSL* ssl);

  SSL_CTX* first_context;   // That the connection began with. The SSL keeps it, for its sessions.
  std::string server_name;  // As it was when the context was chosen.
};

// Hands over what is in `removals`, if the store of `ctx` wants to know. May park.
void deliver_removals(const SSL_CTX* ctx, Deadline deadline);

}  // namespace heddle::tls
