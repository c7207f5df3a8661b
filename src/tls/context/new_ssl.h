// Making SSL objects.
#pragma once

#include "heddle/result.h"
#include "heddle/tls/stream.h"

#include "openssl/handles.h"
#include "tls/state/context_state.h"

namespace heddle::tls {

// Makes an SSL in the role of `context`, with the peer's name of `options`, and without a BIO.
// Fails as Stream::create() does. Callers hold an ErrorQueueScope.
Result<openssl::SslPtr> new_ssl(const ContextState& context, const StreamOptions& options);

}  // namespace heddle::tls
