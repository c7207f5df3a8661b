// Marking sessions, and judging those that come back.
#include "tls/callbacks/session_mark.h"

#include <algorithm>
#include <ctime>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <strings.h>

#include "heddle/error_queue.h"

#include "fiber/user_code.h"
#include "openssl/error.h"
#include "tls/state/callback_scope.h"
#include "tls/state/callback_state.h"
#include "tls/state/trust_digest.h"

namespace heddle::tls {
namespace {

using StoreContextPtr = openssl::Handle<X509_STORE_CTX, X509_STORE_CTX_free>;

// Changes when the meaning of a mark does.
constexpr std::string_view kFormat = "heddle session mark 1";

// Description is text in which no two different sequences of parts look alike.
class Description {
 public:
  void add(std::string_view part) {
    add(part.size());
    text_ += part;
  }
  void add(const char* part) { add(std::string_view(part != nullptr ? part : "")); }
  void add(const Sha256& digest) {
    text_.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  }
  void add(unsigned long number) { text_ += std::to_string(number) + ':'; }

  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
};

bool verifies(const SSL* ssl) {
  return (SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) != 0;
}

void add_parameters(Description& all, X509_VERIFY_PARAM* param) {
  all.add(X509_VERIFY_PARAM_get_flags(param));
  all.add(static_cast<unsigned long>(X509_VERIFY_PARAM_get_hostflags(param)));
  all.add(static_cast<unsigned long>(X509_VERIFY_PARAM_get_depth(param)));
  all.add(static_cast<unsigned long>(X509_VERIFY_PARAM_get_auth_level(param)));
#if OPENSSL_VERSION_NUMBER >= 0x30500000L
  all.add(static_cast<unsigned long>(X509_VERIFY_PARAM_get_purpose(param)));
#endif
  all.add(X509_VERIFY_PARAM_get0_name(param));
  for (int i = 0; const char* const host = X509_VERIFY_PARAM_get0_host(param, i); ++i) {
    all.add(host);
  }
  all.add("");  // No host is empty.
  all.add(X509_VERIFY_PARAM_get0_email(param));
  all.add(openssl::MemoryPtr(X509_VERIFY_PARAM_get1_ip_asc(param)).get());
}

bool add_trust(Description& all, SSL* ssl) {
  SSL_CTX* const ctx = SSL_get_SSL_CTX(ssl);
  X509_STORE* const usual = SSL_CTX_get_cert_store(ctx);
  X509_STORE* chosen = nullptr;
  SSL_get0_verify_cert_store(ssl, &chosen);
  X509_STORE* const store = chosen != nullptr ? chosen : usual;
  TrustDigest of_its_own;
  TrustDigest& trust = store == usual ? CallbackState::of(ctx).trust : of_its_own;
  Sha256 digest{};
  if (!trust.compute(store, digest)) return false;
  all.add(digest);
  all.add(static_cast<unsigned long>(SSL_get_security_level(ssl)));
  add_parameters(all, SSL_get0_param(ssl));
  add_parameters(all, X509_STORE_get0_param(store));
  return true;
}

bool has_expired(SSL* ssl, const X509* certificate) {
  constexpr unsigned long kOtherTime = X509_V_FLAG_NO_CHECK_TIME | X509_V_FLAG_USE_CHECK_TIME;
  if ((X509_VERIFY_PARAM_get_flags(SSL_get0_param(ssl)) & kOtherTime) != 0) return false;
  return ASN1_TIME_cmp_time_t(X509_get0_notAfter(certificate), std::time(nullptr)) < 0;
}

// Verifies the certificate of `session` anew, and its name. A session that was read from bytes has
// lost the rest of its chain.
bool verifies_again(SSL* ssl, SSL_SESSION* session) {
  X509* const peer = SSL_SESSION_get0_peer(session);
  const StoreContextPtr check(X509_STORE_CTX_new());
  X509_STORE* const store = SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl));
  if (peer == nullptr || !check ||
      X509_STORE_CTX_init(check.get(), store, peer, SSL_get_peer_cert_chain(ssl)) != 1) {
    return false;
  }
  X509_STORE_CTX_set_default(check.get(), "ssl_server");
  X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(check.get()), SSL_get0_param(ssl));
  return X509_verify_cert(check.get()) == 1;
}

// The peer's certificate alone, as PeerChain shows it.
Result<int> ask_program(const ConnectionView& connection, SSL_SESSION* session) {
  SSL* const ssl = connection.native_handle();
  const StoreContextPtr check(X509_STORE_CTX_new());
  if (!check || X509_STORE_CTX_init(check.get(), SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl)),
                                    SSL_SESSION_get0_peer(session), nullptr) != 1) {
    return openssl::error_from_queue(Errc::kExhausted, "X509_STORE_CTX_init");
  }
  X509_STORE_CTX_set_ex_data(check.get(), SSL_get_ex_data_X509_STORE_CTX_idx(), ssl);
  X509_STORE_CTX_set_error(check.get(), X509_V_OK);
  return fiber::call_user(CallbackState::of(ssl).verify, connection, PeerChain(check.get()));
}

// Whether the verify callback accepts what it has accepted when the session was made.
bool is_accepted(SSL* ssl, SSL_SESSION* session) {
  if (!CallbackState::of(ssl).verify) return true;
  const auto verdict = ask<int>("the verify callback, in an ASYNC job of OpenSSL", ssl, [&] {
    // A server has not taken the name from the hello yet.
    return SSL_is_server(ssl) != 0 ? ask_program(ClientHello(ssl), session)
                                   : ask_program(ConnectionView(ssl), session);
  });
  return verdict == X509_V_OK;
}

// A client is about to send its hello: the program may want a full handshake.
// Or its handshake is done: what it has offered of a cache is good.
void watch_offer(const SSL* ssl, int where, int value) {
  if (where == SSL_CB_HANDSHAKE_DONE) {
    ConnectionNotes* const notes = ConnectionNotes::of(ssl);
    if (notes != nullptr && notes->offer) notes->offer->have_succeeded();
  }
  if (where == SSL_CB_HANDSHAKE_START && SSL_get_state(ssl) == TLS_ST_BEFORE) {
    auto* const ours = const_cast<SSL*>(ssl);  // NOLINT(*-const-cast): OpenSSL's own is not const.
    SSL_SESSION* const session = SSL_get_session(ssl);
    if (session != nullptr && !is_accepted(ours, session)) SSL_set_session(ours, nullptr);
  }
  // The SSL's callback stands before that of its SSL_CTX.
  const auto next = SSL_CTX_get_info_callback(SSL_get_SSL_CTX(ssl));
  if (next != nullptr) next(ssl, where, value);
}

// Why a client whose sessions have `mark`, or none, must not offer `session`, which `ssl` has.
const char* objection(SSL* ssl, SSL_SESSION* session, const std::optional<Sha256>& mark) {
  const char* const now = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  const char* const then = SSL_SESSION_get0_hostname(session);
  if (now != nullptr && then != nullptr && ::strcasecmp(now, then) != 0) {
    return "it is another host's";
  }
  const X509* const peer = SSL_SESSION_get0_peer(session);
  if (verifies(ssl) && peer != nullptr) {
    if (SSL_get_verify_result(ssl) != X509_V_OK) return "its peer was not verified";
    if (has_expired(ssl, peer)) return "its peer's certificate has expired";
  }
  unsigned size = 0;
  const unsigned char* const theirs = SSL_SESSION_get0_id_context(session, &size);
  if (mark && size != 0) {
    const bool same = std::equal(mark->begin(), mark->end(), theirs, theirs + size);
    return same ? nullptr : "made for another name, trust, verification or identity";
  }
  if (verifies(ssl) && !verifies_again(ssl, session)) {
    return "its peer's certificate does not verify here";
  }
  // A client takes no session of another ID context, and nothing else depends on it here.
  SSL_set_session_id_context(ssl, theirs, size);
  return nullptr;
}

}  // namespace

std::optional<Sha256> mark_sessions(SSL* ssl, std::string_view peer_name) {
  const ErrorQueueScope scope(Leftovers::kDrop);  // Parameters that are not there leave entries.
  Description all;
  all.add(kFormat);
  all.add(static_cast<unsigned long>(SSL_is_server(ssl)));
  all.add(static_cast<unsigned long>(SSL_get_verify_mode(ssl)));
  std::string name(peer_name);
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  all.add(name);
  Sha256 digest{};
  X509* const ours = SSL_get_certificate(ssl);
  if (ours != nullptr && !CallbackState::of(ssl).trust.compute(ours, digest)) return std::nullopt;
  all.add(digest);
  if (verifies(ssl) && !add_trust(all, ssl)) return std::nullopt;
  // What OpenSSL 3.0 does not let us read, or does not know.
  const CallbackState& state = CallbackState::of(ssl);
  if (state.peer_purpose != PeerPurpose::kByRole || state.ocsp_check != OcspCheck::kNone) {
    all.add(static_cast<unsigned long>(state.peer_purpose));
    all.add(static_cast<unsigned long>(state.ocsp_check));
  }
  Sha256 mark{};
  if (!CallbackState::of(ssl).session_mark.compute(all.text(), mark) ||
      SSL_set_session_id_context(ssl, mark.data(), mark.size()) != 1) {
    return std::nullopt;
  }
  return mark;
}

Session copy_of(const SSL_SESSION* session) {
  const openssl::SessionPtr copy(SSL_SESSION_dup(session));
  if (!copy) throw std::bad_alloc();
  return Session(copy.get());
}

Result<void> offer_session(SSL* ssl, const Session& session, const std::optional<Sha256>& mark) {
  const Session copy = copy_of(session.native_handle());
  SSL_SESSION* const handle = copy.native_handle();
  if (SSL_set_session(ssl, handle) != 1) {
    return openssl::error_from_queue(Errc::kInvalid, kSetSession);
  }
  if (const char* const why = objection(ssl, handle, mark)) {
    return Error{.code = Errc::kInvalid, .operation = kSetSession, .detail = why};
  }
  if (CallbackState::of(ssl).verify && SSL_SESSION_get0_peer(handle) != nullptr) {
    SSL_set_info_callback(ssl, watch_offer);
  }
  return {};
}

void offer_from_cache(SSL* ssl, const Sha256& mark, const std::string& scope) {
  const auto& cache = CallbackState::of(ssl).client_cache;
  std::string key(reinterpret_cast<const char*>(mark.data()), mark.size());
  key += scope;
  ConnectionNotes& notes = ConnectionNotes::attach(ssl);
  notes.cache_key = key;
  if (SSL_get_session(ssl) != nullptr) return;
  const auto session = cache->take(key);
  if (!session) return;
  if (!offer_session(ssl, *session, mark)) {
    SSL_set_session(ssl, nullptr);
    cache->remove(key);  // They are of one peer, whose certificate has expired.
    return;
  }
  if (SSL_SESSION_get_protocol_version(session->native_handle()) >= TLS1_3_VERSION) return;
  notes.offer = std::make_unique<Offer>(cache, std::move(key), *session);
  SSL_set_info_callback(ssl, watch_offer);
}

bool may_resume(SSL* ssl, SSL_SESSION* session) {
  if (!verifies(ssl)) return true;
  const X509* const peer = SSL_SESSION_get0_peer(session);
  if (peer == nullptr) return (SSL_get_verify_mode(ssl) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) == 0;
  return !has_expired(ssl, peer) && is_accepted(ssl, session);
}

}  // namespace heddle::tls
