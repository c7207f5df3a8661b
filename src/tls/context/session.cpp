// Sessions and ticket keys as values.
#include "heddle/tls/session.h"

#include <algorithm>
#include <cstring>
#include <new>

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "base/die.h"
#include "openssl/error.h"
#include "openssl/handles.h"
#include "openssl/version.h"

namespace heddle {

Session::Session(SSL_SESSION* session) {
  if (session == nullptr) {
    die("Session() of a null SSL_SESSION: ask SSL_get1_session() for one only after the handshake");
  }
  SSL_SESSION_up_ref(session);
  session_.reset(session, SSL_SESSION_free);
}

Result<Session> Session::parse(std::string_view der) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  constexpr const char* kOperation = "parse a TLS session";
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const auto* const end = at + der.size();
  const openssl::SessionPtr session(d2i_SSL_SESSION(nullptr, &at, static_cast<long>(der.size())));
  if (!session) return openssl::error_from_queue(Errc::kInvalid, kOperation);
  if (at != end) {
    return Error{.code = Errc::kInvalid, .operation = kOperation, .detail = "bytes follow it"};
  }
  return Session(session.get());
}

std::string Session::serialise() const {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const int size = i2d_SSL_SESSION(session_.get(), nullptr);
  if (size <= 0) throw std::bad_alloc();  // Nothing else can be wrong with it.
  std::string der(static_cast<std::size_t>(size), '\0');
  auto* into = reinterpret_cast<unsigned char*>(der.data());
  i2d_SSL_SESSION(session_.get(), &into);
  return der;
}

std::string Session::id() const {
  unsigned size = 0;
  const unsigned char* const bytes = SSL_SESSION_get_id(session_.get(), &size);
  return {reinterpret_cast<const char*>(bytes), size};
}

std::chrono::system_clock::time_point Session::time() const {
  return std::chrono::system_clock::from_time_t(openssl::version::session_time(session_.get()));
}

std::chrono::seconds Session::timeout() const {
  return std::chrono::seconds(SSL_SESSION_get_timeout(session_.get()));
}

std::chrono::seconds Session::ticket_lifetime_hint() const {
  return std::chrono::seconds(SSL_SESSION_get_ticket_lifetime_hint(session_.get()));
}

bool Session::has_ticket() const {
  return SSL_SESSION_has_ticket(session_.get()) != 0;
}

bool Session::is_resumable() const {
  return SSL_SESSION_is_resumable(session_.get()) != 0;
}

bool Session::operator==(const Session& other) const {
  if (session_ == other.session_) return true;
  const std::string ours = id();
  return !ours.empty() && ours == other.id();
}

TicketKey::~TicketKey() {
  OPENSSL_cleanse(this, sizeof(*this));
}

Result<TicketKey> TicketKey::generate() {
  const ErrorQueueScope scope(Leftovers::kDrop);
  TicketKey key;
  const auto fill = [](auto& part) {
    return RAND_priv_bytes(reinterpret_cast<unsigned char*>(part.data()),
                           static_cast<int>(part.size())) == 1;
  };
  if (!fill(key.name) || !fill(key.aes) || !fill(key.hmac)) {
    return openssl::error_from_queue(Errc::kExhausted, "make a session ticket key");
  }
  return key;
}

Result<TicketKey> TicketKey::parse(std::string_view bytes) {
  TicketKey key;
  if (bytes.size() != key.name.size() + key.aes.size() + key.hmac.size()) {
    return Error{.code = Errc::kInvalid,
                 .operation = "parse a session ticket key",
                 .detail = "it has 80 bytes"};
  }
  const auto take = [&bytes](auto& part) {
    std::memcpy(part.data(), bytes.data(), part.size());
    bytes.remove_prefix(part.size());
  };
  take(key.name);
  take(key.aes);
  take(key.hmac);
  return key;
}

std::string TicketKey::serialise() const {
  std::string bytes;
  const auto add = [&bytes](const auto& part) {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
  };
  add(name);
  add(aes);
  add(hmac);
  return bytes;
}

}  // namespace heddle
