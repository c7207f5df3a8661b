// Pre-shared keys, in TLS 1.3 (RFC 8446, section 4.2.11) and in TLS 1.2 (RFC 4279).
#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include <openssl/ssl.h>

#include "heddle/error_queue.h"
#include "heddle/tls/context.h"

#include "base/wiped.h"
#include "openssl/error.h"
#include "tls/state/callback_scope.h"
#include "tls/state/callback_state.h"
#include "tls/state/for_role.h"

namespace heddle {

Psk::~Psk() {
  wipe(key);
}

namespace tls {
namespace {

constexpr const char* kName = "the PSK callback, in an ASYNC job of OpenSSL";
constexpr std::size_t kIdentityBytesMax = 128;
constexpr std::size_t kKeyBytesMax = 256;

using Asked = std::optional<std::optional<Psk>>;

Result<std::optional<Psk>> checked(Result<std::optional<Psk>> psk) {
  if (psk && *psk &&
      ((*psk)->key.empty() || (*psk)->key.size() > kKeyBytesMax ||
       (*psk)->identity.size() > kIdentityBytesMax)) {
    return Error{.code = Errc::kInvalid,
                 .operation = "use a PSK",
                 .detail = "the key is empty or over 256 bytes, or the identity over 128"};
  }
  return psk;
}

Asked ask_client(SSL* ssl, const char* hint) {
  const PskClientCallback& function = CallbackState::of(ssl).psk_client;
  return ask<std::optional<Psk>>(kName, ssl, [&] {
    if (!function) return Result<std::optional<Psk>>(std::nullopt);
    return checked(function(ConnectionView(ssl), hint != nullptr ? hint : std::string_view()));
  });
}

Asked ask_server(SSL* ssl, std::string_view identity) {
  const PskServerCallback& function = CallbackState::of(ssl).psk_server;
  return ask<std::optional<Psk>>(kName, ssl, [&] {
    if (!function) return Result<std::optional<Psk>>(std::nullopt);
    return checked(function(ConnectionView(ssl), identity));
  });
}

// TLS 1.3 takes a key in the form of a session. Any ciphersuite with the hash will do.
openssl::SessionPtr make_session(SSL* ssl, const Psk& psk) {
  const bool sha256 = psk.hash == Psk::Hash::kSha256;
  const std::array<unsigned char, 2> suite = {0x13, static_cast<unsigned char>(sha256 ? 1 : 2)};
  const SSL_CIPHER* const cipher = SSL_CIPHER_find(ssl, suite.data());
  openssl::SessionPtr session(SSL_SESSION_new());
  const auto* const key = reinterpret_cast<const unsigned char*>(psk.key.data());
  if (!session || cipher == nullptr ||
      SSL_SESSION_set1_master_key(session.get(), key, psk.key.size()) != 1 ||
      SSL_SESSION_set_cipher(session.get(), cipher) != 1 ||
      SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) != 1) {
    return nullptr;
  }
  return session;
}

// `digest` is set when OpenSSL asks again, after a HelloRetryRequest: it has one hash by then.
int use_session(SSL* ssl, const EVP_MD* digest, const unsigned char** identity,
                std::size_t* identity_size, SSL_SESSION** session) {
  *session = nullptr;
  const Asked psk = ask_client(ssl, nullptr);
  if (!psk) return 0;
  if (!*psk) return 1;
  openssl::SessionPtr made = make_session(ssl, **psk);
  if (!made) return 0;
  const SSL_CIPHER* const cipher = SSL_SESSION_get0_cipher(made.get());
  if (digest != nullptr && SSL_CIPHER_get_handshake_digest(cipher) != digest) return 1;
  // A client refuses to resume a session of another ID context (tls/callbacks/session_mark.h), and
  // takes this one for such. The one in the SSL is new, or offered at the same time: it has the
  // SSL's own.
  unsigned mark_size = 0;
  const unsigned char* const mark = SSL_SESSION_get0_id_context(SSL_get_session(ssl), &mark_size);
  if (SSL_SESSION_set1_id_context(made.get(), mark, mark_size) != 1) return 0;
  std::string& kept = ConnectionNotes::attach(ssl).psk_identity;
  kept = (*psk)->identity;
  *identity = reinterpret_cast<const unsigned char*>(kept.data());
  *identity_size = kept.size();
  *session = made.release();
  return 1;
}

int find_session(SSL* ssl, const unsigned char* identity, std::size_t size, SSL_SESSION** session) {
  *session = nullptr;
  const Asked psk = ask_server(ssl, {reinterpret_cast<const char*>(identity), size});
  if (!psk) return 0;
  if (!*psk) return 1;
  *session = make_session(ssl, **psk).release();
  return *session != nullptr ? 1 : 0;
}

unsigned copy_key(const Psk& psk, unsigned char* into, unsigned room) {
  if (psk.key.size() > room) return 0;
  std::copy_n(reinterpret_cast<const unsigned char*>(psk.key.data()), psk.key.size(), into);
  return static_cast<unsigned>(psk.key.size());
}

// OpenSSL falls back to the functions of TLS 1.2 in TLS 1.3. They have been asked already then.
bool is_for_tls13(const SSL* ssl) {
  return SSL_is_server(ssl) != 0 ? SSL_version(ssl) == TLS1_3_VERSION
                                 : SSL_get_state(ssl) != TLS_ST_CW_KEY_EXCH;
}

unsigned client_key(SSL* ssl, const char* hint, char* identity, unsigned identity_room,
                    unsigned char* key, unsigned key_room) {
  if (is_for_tls13(ssl)) return 0;
  const Asked psk = ask_client(ssl, hint);
  if (!psk || !*psk) return 0;
  const std::string& name = (*psk)->identity;
  if (name.size() + 1 > identity_room || name.find('\0') != std::string::npos) return 0;
  *std::copy(name.begin(), name.end(), identity) = '\0';
  return copy_key(**psk, key, key_room);
}

unsigned server_key(SSL* ssl, const char* identity, unsigned char* key, unsigned key_room) {
  if (is_for_tls13(ssl)) return 0;
  const Asked psk = ask_server(ssl, identity);
  return psk && *psk ? copy_key(**psk, key, key_room) : 0;
}

bool is_psk(const SSL_CIPHER* cipher) {
  constexpr std::array kKinds = {NID_kx_psk, NID_kx_ecdhe_psk, NID_kx_dhe_psk, NID_kx_rsa_psk};
  return std::find(kKinds.begin(), kKinds.end(), SSL_CIPHER_get_kx_nid(cipher)) != kKinds.end();
}

// Suites of TLS 1.2 that use a PSK are not in the default list: whoever has a key adds them, those
// with forward secrecy first. A list that has some is the program's choice.
void add_psk_suites(SSL_CTX* ctx) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const STACK_OF(SSL_CIPHER)* const ciphers = SSL_CTX_get_ciphers(ctx);
  std::string list;
  for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); ++i) {
    const SSL_CIPHER* const cipher = sk_SSL_CIPHER_value(ciphers, i);
    if (is_psk(cipher)) return;
    // Those of TLS 1.3 have a list of their own.
    if (SSL_CIPHER_get_kx_nid(cipher) != NID_kx_any)
      list.append(SSL_CIPHER_get_name(cipher)) += ':';
  }
  list += "kECDHEPSK+CHACHA20:kECDHEPSK+AES:kDHEPSK+AESGCM:kPSK+AESGCM:kPSK+CHACHA20:!SHA1";
  SSL_CTX_set_cipher_list(ctx, list.c_str());
}

}  // namespace

void set_psk_callbacks(SSL* ssl, const SSL_CTX* ctx) {
  const bool wanted = static_cast<bool>(CallbackState::of(ctx).psk_server);
  SSL_set_psk_find_session_callback(ssl, wanted ? find_session : nullptr);
  SSL_set_psk_server_callback(ssl, wanted ? server_key : nullptr);
}

}  // namespace tls

void Context::on_psk_client(PskClientCallback callback) {
  tls::only_for(Role::kClient, *this, "Context::on_psk_client()");
  auto& held = tls::CallbackState::of(native_handle()).psk_client;
  held = std::move(callback);
  if (held) tls::add_psk_suites(native_handle());
  SSL_CTX_set_psk_use_session_callback(native_handle(), held ? tls::use_session : nullptr);
  SSL_CTX_set_psk_client_callback(native_handle(), held ? tls::client_key : nullptr);
}

void Context::on_psk_server(PskServerCallback callback) {
  tls::only_for(Role::kServer, *this, "Context::on_psk_server()");
  auto& held = tls::CallbackState::of(native_handle()).psk_server;
  held = std::move(callback);
  if (held) tls::add_psk_suites(native_handle());
  SSL_CTX_set_psk_find_session_callback(native_handle(), held ? tls::find_session : nullptr);
  SSL_CTX_set_psk_server_callback(native_handle(), held ? tls::server_key : nullptr);
}

}  // namespace heddle
