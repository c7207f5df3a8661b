// Sessions that live outside of OpenSSL.
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include <openssl/ssl.h>

#include "heddle/error_queue.h"
#include "heddle/tls/context.h"

#include "base/die.h"
#include "fiber/user_code.h"
#include "tls/callbacks/session_mark.h"
#include "tls/state/callback_scope.h"
#include "tls/state/callback_state.h"
#include "tls/state/for_role.h"

namespace heddle {
namespace tls {
namespace {

// A store that fails costs a full handshake, no connection.
void tell_store(const SessionStore& store, const Error& error) {
  if (store.on_error) fiber::call_user(store.on_error, error);
}

int new_session(SSL* ssl, SSL_SESSION* session) {
  const CallbackState& state = CallbackState::of_sessions(ssl);
  constexpr const char* kName = "the session callback, in an ASYNC job of OpenSSL";
  const ConnectionNotes* const notes = ConnectionNotes::of(ssl);
  if (state.client_cache && notes != nullptr && !notes->cache_key.empty()) {
    tell(kName, ssl, [&]() -> Result<void> {
      state.client_cache->add(notes->cache_key, copy_of(session));
      return {};
    });
  }
  if (state.store.put) {
    tell(kName, ssl, [&]() -> Result<void> {
      const Result<void> kept = state.store.put(ConnectionView(ssl), copy_of(session));
      if (!kept) tell_store(state.store, kept.error());
      return {};
    });
  } else if (state.new_session) {
    tell(kName, ssl, [&] { return state.new_session(ConnectionView(ssl), copy_of(session)); });
  }
  return 0;  // The reference that is offered was not taken.
}

SSL_SESSION* get_session(SSL* ssl, const unsigned char* id, int size, int* copy) {
  const CallbackState& state = CallbackState::of_sessions(ssl);
  const std::string_view wanted(reinterpret_cast<const char*>(id), static_cast<std::size_t>(size));
  SSL_SESSION* found = nullptr;
  *copy = 0;  // The reference goes to OpenSSL.
  if (!state.store.get) return nullptr;
  tell("the session lookup callback, in an ASYNC job of OpenSSL", ssl, [&]() -> Result<void> {
    const Result<std::optional<Session>> session = state.store.get(ClientHello(ssl), wanted);
    if (!session) {
      tell_store(state.store, session.error());
    } else if (*session && may_resume(ssl, (*session)->native_handle())) {
      found = (*session)->native_handle();
      SSL_SESSION_up_ref(found);
    }
    return {};
  });
  return found;
}

// Called under a lock of the SSL_CTX, from SSL_free(), on any thread.
void remove_session(SSL_CTX* ctx, SSL_SESSION* session) {
  CallbackState::of(ctx).removals.add(Session(session).id());
}

// What has been decrypted, before OpenSSL compares its ID context.
SSL_TICKET_RETURN judge_ticket(SSL* ssl, SSL_SESSION* session, const unsigned char* /*name*/,
                               std::size_t /*name_size*/, SSL_TICKET_STATUS status,
                               void* /*argument*/) {
  if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) {
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  }
  if (!may_resume(ssl, session)) return SSL_TICKET_RETURN_IGNORE_RENEW;
  return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

void install_client_sessions(SSL_CTX* ctx) {
  const CallbackState& state = CallbackState::of(ctx);
  const bool wanted = state.new_session || state.client_cache;
  // OpenSSL never looks into a client's internal cache.
  SSL_CTX_set_session_cache_mode(
      ctx, wanted ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
  SSL_CTX_sess_set_new_cb(ctx, wanted ? new_session : nullptr);
}

}  // namespace

void install_ticket_callback(SSL_CTX* ctx) {
  SSL_CTX_set_session_ticket_cb(ctx, nullptr, judge_ticket, nullptr);
}

void deliver_removals(const SSL_CTX* ctx, Deadline deadline) {
  CallbackState& state = CallbackState::of(ctx);
  if (state.removals.empty()) return;
  const std::deque<std::string> ids = state.removals.take();
  if (!state.store.remove) return;  // The store has been exchanged meanwhile.
  for (const std::string& id : ids) {
    try {
      const Result<void> removed = fiber::call_user(state.store.remove, id, deadline);
      if (!removed) tell_store(state.store, removed.error());
    } catch (...) {  // tidy: no call of the program's is to blame; see SessionStore::remove.
    }
  }
}

}  // namespace tls

void Context::on_new_session(NewSessionCallback callback) {
  tls::only_for(Role::kClient, *this, "Context::on_new_session()");
  auto& held = tls::CallbackState::of(native_handle()).new_session;
  held = std::move(callback);
  tls::install_client_sessions(native_handle());
}

Result<void> Context::set_session_cache(const SessionCache& cache) {
  constexpr const char* kCall = "Context::set_session_cache()";
  tls::only_for(Role::kClient, *this, kCall);
  tls::CallbackState& state = tls::CallbackState::of(native_handle());
  const char* why_not = nullptr;
  if (!state.is_ours) why_not = "sessions of an adopted SSL_CTX do not say what was verified";
  if (cache.servers_max == 0 || cache.sessions_per_server == 0) why_not = "it would keep none";
  if (why_not != nullptr) {
    return Error{.code = Errc::kInvalid, .operation = kCall, .detail = why_not};
  }
  state.client_cache = std::make_shared<tls::ClientCache>(cache);
  tls::install_client_sessions(native_handle());
  return {};
}

Result<void> Context::set_session_store(SessionStore store) {
  constexpr const char* kCall = "Context::set_session_store()";
  tls::only_for(Role::kServer, *this, kCall);
  if (!store.put || !store.get) {
    die("Context::set_session_store() with an empty function: a store has both put and get");
  }
  tls::CallbackState& state = tls::CallbackState::of(native_handle());
  if (const char* const why_not = tls::other_than_store(state)) {
    return Error{.code = Errc::kInvalid, .operation = kCall, .detail = why_not};
  }
  auto& held = state.store;
  held = std::move(store);
  SSL_CTX_set_options(native_handle(), SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(native_handle(), SSL_SESS_CACHE_SERVER |
                                                      SSL_SESS_CACHE_NO_INTERNAL |
                                                      SSL_SESS_CACHE_NO_AUTO_CLEAR);
  SSL_CTX_sess_set_new_cb(native_handle(), tls::new_session);
  SSL_CTX_sess_set_get_cb(native_handle(), tls::get_session);
  SSL_CTX_sess_set_remove_cb(native_handle(), held.remove ? tls::remove_session : nullptr);
  return {};
}

void Context::set_session_timeout(std::chrono::seconds timeout) {
  SSL_CTX_set_timeout(native_handle(), static_cast<long>(timeout.count()));
  tls::CallbackState& state = tls::CallbackState::of(native_handle());
  if (!state.shares_ticket_keys) state.ticket_key_ring->set_session_timeout(timeout);
}

}  // namespace heddle
