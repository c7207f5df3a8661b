// Where callbacks find their functions, and where they leave what went wrong.
#include "tls/state/callback_state.h"

#include <exception>
#include <new>
#include <utility>

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/assert.h"
#include "fiber/scheduler.h"
#include "openssl/ex_data.h"
#include "tls/machine/engine.h"
#include "tls/state/callback_scope.h"

namespace heddle::tls {
namespace {

void free_state(void* /*parent*/, void* state, CRYPTO_EX_DATA* /*data*/, int /*index*/,
                long /*number*/, void* /*pointer*/) {
  delete static_cast<CallbackState*>(state);
}

int state_index() {
  static const int index = openssl::new_ex_index(CRYPTO_EX_INDEX_SSL_CTX, free_state);
  return index;
}

void free_connection(void* /*parent*/, void* state, CRYPTO_EX_DATA* /*data*/, int /*index*/,
                     long /*number*/, void* /*pointer*/) {
  delete static_cast<ConnectionNotes*>(state);
}

int connection_index() {
  static const int index = openssl::new_ex_index(CRYPTO_EX_INDEX_SSL, free_connection);
  return index;
}

// Null if no Context has made or adopted `ctx`.
CallbackState* find(const SSL_CTX* ctx) noexcept {
  return static_cast<CallbackState*>(SSL_CTX_get_ex_data(ctx, state_index()));
}

// For whoever reads the thread's error queue.
void raise(const Error& error) noexcept {
  try {
    ERR_raise_data(ERR_LIB_SSL, SSL_R_CALLBACK_FAILED, "%s", error.message().c_str());
  } catch (const std::bad_alloc&) {
    ERR_raise_data(ERR_LIB_SSL, SSL_R_CALLBACK_FAILED, "%s", error.operation);
  }
}

}  // namespace

void Removals::add(std::string id) noexcept {
  const std::lock_guard lock(mutex_);
  try {
    if (ids_.size() == kIdsMax) ids_.pop_front();
    ids_.push_back(std::move(id));
  } catch (const std::bad_alloc&) {
    return;
  }
  empty_.store(false, std::memory_order_relaxed);
}

std::deque<std::string> Removals::take() {
  const std::lock_guard lock(mutex_);
  empty_.store(true, std::memory_order_relaxed);
  return std::exchange(ids_, {});
}

ConnectionNotes* ConnectionNotes::of(const SSL* ssl) noexcept {
  return static_cast<ConnectionNotes*>(SSL_get_ex_data(ssl, connection_index()));
}

ConnectionNotes& ConnectionNotes::attach(SSL* ssl) {
  if (ConnectionNotes* const state = of(ssl)) return *state;
  auto state = std::make_unique<ConnectionNotes>();
  state->first_context = SSL_get_SSL_CTX(ssl);
  if (SSL_set_ex_data(ssl, connection_index(), state.get()) != 1) throw std::bad_alloc();
  return *state.release();  // The SSL owns it now.
}

CallbackState& CallbackState::of(const SSL* ssl) noexcept {
  CallbackState* const state = find(SSL_get_SSL_CTX(ssl));
  return state != nullptr ? *state : of_sessions(ssl);
}

CallbackState& CallbackState::of_sessions(const SSL* ssl) noexcept {
  static CallbackState without_functions;
  const SSL_CTX* first = SSL_get_SSL_CTX(ssl);
  if (const Engine* const engine = Engine::of(ssl)) first = engine->first_context();
  if (const auto* const connection = ConnectionNotes::of(ssl)) first = connection->first_context;
  CallbackState* const state = find(first);
  return state != nullptr ? *state : without_functions;
}

CallbackState& CallbackState::attach(SSL_CTX* ctx) {
  if (void* const state = SSL_CTX_get_ex_data(ctx, state_index())) {
    return *static_cast<CallbackState*>(state);
  }
  auto state = std::make_unique<CallbackState>();
  if (SSL_CTX_set_ex_data(ctx, state_index(), state.get()) != 1) throw std::bad_alloc();
  return *state.release();  // The SSL_CTX owns it now.
}

CallbackState& CallbackState::of(const SSL_CTX* ctx) noexcept {
  CallbackState* const state = find(ctx);
  HEDDLE_ASSERT(state != nullptr);
  return *state;
}

CallbackScope::CallbackScope(const char* name) noexcept {
  // The job is the thread's, whatever fiber runs: parked, it would get into others' calls.
  if (ASYNC_get_current_job() != nullptr) no_park_.emplace(name);
}

void fail_call(const SSL* ssl) noexcept {
  if (Engine* const engine = Engine::of(ssl)) engine->fail_call();
}

void keep_failure(const SSL* ssl, const Error& error) noexcept {
  if (Engine* const engine = Engine::of(ssl)) {
    engine->keep_failure(error);
  } else {
    raise(error);
  }
}

void keep_exception(const SSL* ssl, std::exception_ptr thrown) noexcept {
  if (Engine* const engine = Engine::of(ssl)) {
    engine->keep_exception(std::move(thrown));
    return;
  }
  try {
    std::rethrow_exception(std::move(thrown));
  } catch (const std::exception& exception) {
    ERR_raise_data(ERR_LIB_SSL, SSL_R_CALLBACK_FAILED, "%s", exception.what());
    // tidy: nobody drives this SSL to whom it could go on.
  } catch (...) {
    ERR_raise(ERR_LIB_SSL, SSL_R_CALLBACK_FAILED);
  }
}

}  // namespace heddle::tls

namespace heddle {

ConnectionView::ConnectionView(SSL* ssl)
    : ConnectionView(ssl, [ssl]() -> std::string_view {
        const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        return name != nullptr ? name : std::string_view();
      }()) {}

ConnectionView::ConnectionView(SSL* ssl, std::string_view server_name)
    : ssl_(ssl), server_name_(server_name), deadline_(Deadline::never()) {
  if (const tls::Engine* const engine = tls::Engine::of(ssl)) deadline_ = engine->deadline();
}

}  // namespace heddle
