// The keys of session tickets: which of them seals a ticket, and which opens it.
#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "heddle/tls/context.h"

#include "base/die.h"
#include "fiber/scheduler.h"
#include "tls/state/callback_scope.h"
#include "tls/state/callback_state.h"
#include "tls/state/for_role.h"
#include "tls/state/ticket_key_ring.h"

namespace heddle {
namespace tls {
namespace {

// What OpenSSL does with a ticket after its key callback.
enum Ticket : int { kTicketFailed = -1, kNoTicket = 0, kTicket = 1, kTicketToRenew = 2 };

constexpr const char* kTicketName = "the ticket key callback, in an ASYNC job of OpenSSL";

bool set_mac(EVP_MAC_CTX* mac, const TicketKey& key) {
  auto secret = key.hmac;
  std::string digest = "SHA256";
  const std::array<OSSL_PARAM, 3> parameters = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, secret.data(), secret.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
      OSSL_PARAM_construct_end()};
  const bool set = EVP_MAC_CTX_set_params(mac, parameters.data()) == 1;
  OPENSSL_cleanse(secret.data(), secret.size());
  return set;
}

const unsigned char* octets(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

// EVP_aes_256_cbc() makes OpenSSL look for the implementation with each ticket. Kept as long as the
// process lives: OPENSSL_cleanup(3) may come before our destructors.
const EVP_CIPHER* cipher_of_tickets() {
  static const EVP_CIPHER* const fetched = EVP_CIPHER_fetch(nullptr, "AES-256-CBC", nullptr);
  return fetched != nullptr ? fetched : EVP_aes_256_cbc();
}

Ticket seal(const TicketKey& key, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
            EVP_MAC_CTX* mac) {
  constexpr int kIvBytes = 16;
  std::copy_n(octets(key.name), key.name.size(), name);
  if (RAND_bytes(iv, kIvBytes) != 1 ||
      EVP_EncryptInit_ex(cipher, cipher_of_tickets(), nullptr, octets(key.aes), iv) != 1 ||
      !set_mac(mac, key)) {
    return kTicketFailed;
  }
  return kTicket;
}

Ticket open(const SSL* ssl, std::span<const TicketKey> keys, const unsigned char* name,
            const unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac) {
  const auto key = std::find_if(keys.begin(), keys.end(), [&](const TicketKey& candidate) {
    return std::equal(candidate.name.begin(), candidate.name.end(),
                      reinterpret_cast<const std::byte*>(name));
  });
  if (key == keys.end()) return kNoTicket;
  if (EVP_DecryptInit_ex(cipher, cipher_of_tickets(), nullptr, octets(key->aes), iv) != 1 ||
      !set_mac(mac, *key)) {
    return kTicketFailed;
  }
  // A TLS 1.3 client should use each ticket once (RFC 8446, C.4), so it needs another one.
  const bool renew = key != keys.begin() || SSL_version(ssl) == TLS1_3_VERSION;
  return renew ? kTicketToRenew : kTicket;
}

// Time as the runtime has it. Without one, nobody else's business depends on the clock.
TimePoint now() {
  const fiber::Scheduler* const scheduler = fiber::Scheduler::current_or_null();
  if (scheduler != nullptr) return scheduler->now();
  return std::chrono::steady_clock::now();  // tidy: there is no Source on this thread.
}

int ticket_key(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
               EVP_MAC_CTX* mac, int sealing) {
  const CallbackState& state = CallbackState::of_sessions(ssl);
  TicketKeyRing::Current held;
  if (!state.ticket_keys) {
    held = state.ticket_key_ring->get(now());
  } else {
    auto asked = ask<std::vector<TicketKey>>(
        kTicketName, ssl, [&] { return state.ticket_keys(ConnectionView(ssl)); });
    if (!asked) return kTicketFailed;
    held = {.keys = std::make_shared<const std::vector<TicketKey>>(*std::move(asked)),
            .seals = true};
  }
  if (!held.keys || held.keys->empty()) return kNoTicket;
  if (sealing == 0) return open(ssl, *held.keys, name, iv, cipher, mac);
  return held.seals ? seal(held.keys->front(), name, iv, cipher, mac) : kNoTicket;
}

void install(SSL_CTX* ctx) {
  SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
}

using Source = TicketKeyRing::Source;

constexpr const char* kSetKeys = "Context::set_ticket_keys()";
constexpr const char* kSetRotation = "Context::set_ticket_rotation()";
constexpr const char* kShareKeys = "Context::share_ticket_keys()";
constexpr const char* kOnKeys = "Context::on_ticket_keys()";

// What `call` would have no effect beside.
Result<void> check_alone(const Context& context, const char* call) {
  const CallbackState& state = CallbackState::of(context.native_handle());
  const Source source = state.ticket_key_ring->source();
  const char* why_not = nullptr;
  if (state.store.put) {
    why_not = "set_session_store() was called, and with a store there are no tickets";
  } else if (state.ticket_keys && call != kOnKeys) {
    why_not = "on_ticket_keys() is set: use one of them";
  } else if (state.shares_ticket_keys && call != kShareKeys) {
    why_not = "share_ticket_keys() was called: use one of them";
  } else if (state.shares_ticket_keys) {
    return {};  // Of another one, whose source does not count here.
  } else if (source == Source::kGiven && call != kSetKeys) {
    why_not = "set_ticket_keys() was called: use one of them";
  } else if (source == Source::kRotation && call != kSetRotation) {
    why_not = "set_ticket_rotation() was called: use one of them";
  }
  if (why_not == nullptr) return {};
  return Error{.code = Errc::kInvalid, .operation = call, .detail = why_not};
}

}  // namespace

const char* other_than_store(const CallbackState& state) {
  if (state.ticket_keys) return "on_ticket_keys() is set, and with a store there are no tickets";
  if (state.shares_ticket_keys) {
    return "share_ticket_keys() was called, and with a store there are no tickets";
  }
  switch (state.ticket_key_ring->source()) {
    case Source::kGiven:
      return "set_ticket_keys() was called, and with a store there are no tickets";
    case Source::kRotation:
      return "set_ticket_rotation() was called, and with a store there are no tickets";
    default:
      return nullptr;
  }
}

void install_ticket_rotation(SSL_CTX* ctx) {
  CallbackState::of(ctx).ticket_key_ring->rotate_by_default();
  install(ctx);
}

}  // namespace tls

Result<void> Context::set_ticket_keys(std::vector<TicketKey> keys) {
  tls::only_for(Role::kServer, *this, tls::kSetKeys);
  if (const auto alone = tls::check_alone(*this, tls::kSetKeys); !alone) return alone;
  tls::CallbackState::of(native_handle()).ticket_key_ring->set(std::move(keys));
  tls::install(native_handle());
  return {};
}

Result<void> Context::set_ticket_rotation(const TicketRotation& rotation) {
  tls::only_for(Role::kServer, *this, tls::kSetRotation);
  if (const auto alone = tls::check_alone(*this, tls::kSetRotation); !alone) return alone;
  tls::TicketKeyRing& ring = *tls::CallbackState::of(native_handle()).ticket_key_ring;
  ring.set_session_timeout(std::chrono::seconds(SSL_CTX_get_timeout(native_handle())));
  if (const auto set = ring.rotate(rotation); !set) return set;
  tls::install(native_handle());
  return {};
}

Result<void> Context::share_ticket_keys(const Context& other) {
  tls::only_for(Role::kServer, *this, tls::kShareKeys);
  tls::only_for(Role::kServer, other, tls::kShareKeys);
  if (const auto alone = tls::check_alone(*this, tls::kShareKeys); !alone) return alone;
  const tls::CallbackState& theirs = tls::CallbackState::of(other.native_handle());
  if (theirs.ticket_keys || theirs.store.put ||
      theirs.ticket_key_ring->source() == tls::Source::kNone) {
    return Error{.code = Errc::kInvalid,
                 .operation = tls::kShareKeys,
                 .detail = "the other context has no keys to share"};
  }
  tls::CallbackState& state = tls::CallbackState::of(native_handle());
  state.ticket_key_ring = theirs.ticket_key_ring;
  state.shares_ticket_keys = true;
  tls::install(native_handle());
  return {};
}

Result<void> Context::on_ticket_keys(TicketKeysCallback callback) {
  tls::only_for(Role::kServer, *this, tls::kOnKeys);
  if (!callback) {
    die("Context::on_ticket_keys() with an empty function: there is nobody to ask for keys");
  }
  if (const auto alone = tls::check_alone(*this, tls::kOnKeys); !alone) return alone;
  tls::CallbackState::of(native_handle()).ticket_keys = std::move(callback);
  tls::install(native_handle());
  return {};
}

}  // namespace heddle
