// What to expect, as data: which leaker leaves what on which OpenSSL, and whom it hits.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "heddle/stale.h"

namespace heddle::stale {

// What a leaker leaves in the queue: the oldest entry decides.
enum class Leaves : std::uint8_t {
  kNothing,
  kHidden,  // Only entries flagged ERR_FLAG_CLEAR.
  kOther,   // An entry that is not of ERR_LIB_SYS: SSL_get_error() says SSL_ERROR_SSL.
  kSystem,  // One that is: SSL_ERROR_SYSCALL.
};

struct LeakerFacts {
  Leaves leaves = Leaves::kNothing;
  bool wipes = false;  // Clears the queue first: it begins or goes on with a handshake.
};

// `openssl` as OPENSSL_VERSION_NUMBER. Aborts for a name that the tables do not know.
LeakerFacts facts_of(std::string_view leaker, unsigned long openssl);

// What a stack that does no more than `claims` comes to, beside a leaker like this.
Verdict expected_verdict(const Scenario& scenario, const LeakerFacts& leaker, Isolation claims,
                         unsigned long openssl);

}  // namespace heddle::stale
