// What a wait that ended without the thing waited for means to the caller.
#pragma once

#include "heddle/error.h"
#include "heddle/transport.h"

namespace heddle {

// Precondition: `wake` is not kReady.
inline Error interruption(Wake wake, const char* operation) {
  return {.code = wake == Wake::kTimedOut ? Errc::kTimedOut : Errc::kCancelled,
          .operation = operation};
}

// Whether `error` says that the caller stopped waiting, and nothing of the connection.
inline bool is_interruption(const Error& error) noexcept {
  return error.code == Errc::kTimedOut || error.code == Errc::kCancelled;
}

}  // namespace heddle
