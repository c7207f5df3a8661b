// Tying a ContextState to its SSL_CTX.
#include "tls/state/context_state.h"

#include <array>

#include "heddle/error_queue.h"

#include "openssl/error.h"
#include "openssl/ex_data.h"
#include "tls/state/callback_state.h"

namespace heddle::tls {
namespace {

// The sessions are gone when this is called, so no callback of theirs comes later.
void free_state(void* /*ctx*/, void* state, CRYPTO_EX_DATA* /*data*/, int /*index*/,
                long /*number*/, void* /*pointer*/) {
  delete static_cast<ContextState*>(state);
}

// SSL_CTX_free() takes memory for a list of the sessions that it removes, and leaves an entry if
// there is none. Whoever drops the last reference has nothing to do with that.
void free_context(SSL_CTX* ctx) noexcept {
  const ErrorQueueScope scope(Leftovers::kDrop);
  SSL_CTX_free(ctx);
}

// Where an SSL_CTX keeps its state for a role: code that is not ours may use one for both.
int state_index(Role role) {
  static const std::array<int, 2> indices = {
      openssl::new_ex_index(CRYPTO_EX_INDEX_SSL_CTX, free_state),
      openssl::new_ex_index(CRYPTO_EX_INDEX_SSL_CTX, free_state)};
  return indices[role == Role::kServer ? 1 : 0];
}

}  // namespace

Result<std::shared_ptr<ContextState>> state_of(openssl::SslCtxPtr ctx, Role role) {
  const int index = state_index(role);
  auto* state = static_cast<ContextState*>(SSL_CTX_get_ex_data(ctx.get(), index));
  if (state == nullptr) {
    auto made = std::make_unique<ContextState>(
        ContextState{.role = role, .check_hostname = role == Role::kClient, .ctx = ctx.get()});
    if (SSL_CTX_set_ex_data(ctx.get(), index, made.get()) != 1) {
      return openssl::error_from_queue(Errc::kExhausted, "SSL_CTX_set_ex_data");
    }
    state = made.release();  // The SSL_CTX owns it now.
    CallbackState::attach(ctx.get());
  }
  return std::shared_ptr<ContextState>(std::shared_ptr<SSL_CTX>(ctx.release(), free_context),
                                       state);
}

}  // namespace heddle::tls
