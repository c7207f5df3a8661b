// What OpenSSL's callbacks find behind an SSL or SSL_CTX.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "heddle/tls/callbacks.h"
#include "heddle/tls/context.h"

#include "base/unique_fd.h"
#include "openssl/handles.h"
#include "tls/state/client_cache.h"
#include "tls/state/last_digest.h"
#include "tls/state/ticket_key_ring.h"
#include "tls/state/trust_digest.h"

namespace heddle::tls {

// Removals are the sessions that OpenSSL has given up, until somebody can be told. If nobody is for
// long, the oldest are forgotten: a store forgets them by itself in the end.
class Removals {
 public:
  static constexpr std::size_t kIdsMax = 4096;

  // Called by OpenSSL, under a lock. Without memory the id is forgotten.
  void add(std::string id) noexcept;
  bool empty() const noexcept { return empty_.load(std::memory_order_relaxed); }
  std::deque<std::string> take();

 private:
  std::atomic<bool> empty_ = true;
  std::mutex mutex_;  // Streams of several threads share a context.
  std::deque<std::string> ids_;
};

// CallbackState holds the functions that a Context was given. The SSL_CTX owns it, so it is there
// as long as any SSL is, be it of our making or not.
struct CallbackState {
  // Makes one for `ctx` if there is none. Throws std::bad_alloc.
  static CallbackState& attach(SSL_CTX* ctx);
  // Precondition: attach() has been called.
  static CallbackState& of(const SSL_CTX* ctx) noexcept;
  // Of the context that `ssl` uses now; of the one that it began with, if the program's own code
  // has exchanged that for one that no Context knows (SSL_set_SSL_CTX(3)); one without functions,
  // if neither is known.
  static CallbackState& of(const SSL* ssl) noexcept;
  // Of the context that `ssl` began with: OpenSSL leaves sessions and tickets there, even if a
  // callback has chosen another one since. One without functions, if it is not known.
  static CallbackState& of_sessions(const SSL* ssl) noexcept;

  ClientHelloCallback client_hello;
  ServerNameCallback server_name;
  CertificateCallback certificate;
  AlpnCallback alpn;
  std::string alpn_protocols;  // In wire form.
  OcspRequestCallback ocsp_request;
  OcspResponseCallback ocsp_response;
  OcspCheck ocsp_check = OcspCheck::kNone;
  PeerPurpose peer_purpose = PeerPurpose::kByRole;
  VerifyCallback verify;
  KeyLogCallback key_log;
  MessageCallback tls_message;
  UniqueFd key_log_file;
  PskClientCallback psk_client;
  PskServerCallback psk_server;
  NewSessionCallback new_session;
  std::shared_ptr<ClientCache> client_cache;  // Null if there is none.
  SessionStore store;
  Removals removals;
  TicketKeysCallback ticket_keys;
  // Of its own, unless Context::share_ticket_keys() was called. Never null.
  std::shared_ptr<TicketKeyRing> ticket_key_ring = std::make_shared<TicketKeyRing>();
  bool shares_ticket_keys = false;
  TrustDigest trust;
  LastDigest session_mark;
  bool is_ours = false;  // Context::create() made the SSL_CTX.
};

// ConnectionNotes is what callbacks remember of one connection.
struct ConnectionNotes {
  // Null before attach().
  static ConnectionNotes* of(const SSL* ssl) noexcept;
  // Makes one if there is none. Throws std::bad_alloc.
  static ConnectionNotes& attach(SSL* ssl);

  SSL_CTX* first_context;                  // The SSL keeps it alive, for its sessions.
  std::optional<std::string> server_name;  // Of the hello for which the context was chosen.
  std::string psk_identity;                // Until OpenSSL has copied it.
  std::string cache_key;                   // Under which its sessions are kept; empty if not.
  std::unique_ptr<Offer> offer;            // What it has offered of a session cache.
};

// Installs what every server needs that is configured here, with or without functions of the
// program's: it judges hellos, and sessions that come back.
void install_hello_callback(SSL_CTX* ctx);
void install_ticket_callback(SSL_CTX* ctx);

// Has the tickets of a server sealed with keys that are changed by a clock.
void install_ticket_rotation(SSL_CTX* ctx);
// Why a session store would have no effect beside what is set about tickets; null if it would.
const char* other_than_store(const CallbackState& state);

// The PSK callbacks, and the choice of the ones that `ctx` has for `ssl`: unlike most, they are
// copied into an SSL when it is made.
void set_psk_callbacks(SSL* ssl, const SSL_CTX* ctx);

// Hands over what is in `removals`, if the store of `ctx` wants to know. May park.
void deliver_removals(const SSL_CTX* ctx, Deadline deadline);

}  // namespace heddle::tls
