// The tables. Facts were seen on OpenSSL 3.0.19, 3.5.7, 3.6.5 and 4.0.3, unless a row says
// otherwise.
#include "stale/expectations.h"

#include <algorithm>
#include <array>

#include "base/assert.h"

namespace heddle::stale {
namespace {

constexpr unsigned long kOpenSsl30 = 0x30000000UL;
constexpr unsigned long kOpenSsl34 = 0x30400000UL;
constexpr unsigned long kOpenSsl40 = 0x40000000UL;
constexpr unsigned long kNever = ~0UL;

// A row holds from `since` on, until a later row for the same leaker does.
struct LeakerRow {
  std::string_view leaker;
  unsigned long since;
  Leaves leaves;
  bool wipes;
};

constexpr std::array kLeakers = {
    // From 3.4 on a record that cannot be written leaves an entry (tls_retry_write_records).
    LeakerRow{"vanished-peer", kOpenSsl30, Leaves::kNothing, false},
    LeakerRow{"vanished-peer", kOpenSsl34, Leaves::kSystem, false},
    LeakerRow{"reset-in-shutdown", kOpenSsl30, Leaves::kNothing, false},
    LeakerRow{"reset-in-shutdown", kOpenSsl34, Leaves::kSystem, false},
    LeakerRow{"bad-record", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"junk-handshake", kOpenSsl30, Leaves::kOther, true},
    LeakerRow{"untrusted", kOpenSsl30, Leaves::kOther, true},
    LeakerRow{"shutdown-in-init", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"malformed-aia", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"another-handshake", kOpenSsl30, Leaves::kNothing, true},
    LeakerRow{"stack-junk", kOpenSsl30, Leaves::kOther, true},
    LeakerRow{"pem-junk", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"der-junk", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"wrong-password", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"pkcs12", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"txt2obj", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"missing-algorithm", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"bad-ciphersuites", kOpenSsl30, Leaves::kOther, false},
    LeakerRow{"missing-trust-file", kOpenSsl30, Leaves::kSystem, false},
    LeakerRow{"hidden-entry", kOpenSsl30, Leaves::kHidden, false},
};

// What of a leaker does the harm.
enum class If : std::uint8_t {
  kVisible,  // It leaves an entry that ERR_peek_error() shows.
  kWipes,    // It clears the queue.
  kEither,
};

// Policies that fall for it.
enum class Of : std::uint8_t { kShared, kClear, kSharedAndClear };

struct VictimRow {
  std::string_view victim;
  std::string_view switch_point;
  Of of;
  If leaker;
  Verdict verdict;
  unsigned long until;      // The first OpenSSL that is no longer hit.
  std::string_view except;  // A leaker whose harm cannot be seen.
};

// What is not here is right. From 4.0 on SSL_get_error() looks at the connection before it looks at
// the queue, so that nothing healthy dies; true failures are still mistaken for one another.
constexpr std::array kVictims = {
    VictimRow{"read", "same-fiber", Of::kShared, If::kVisible, Verdict::kSpurious, kOpenSsl40},
    VictimRow{"peek", "same-fiber", Of::kShared, If::kVisible, Verdict::kSpurious, kOpenSsl40},
    VictimRow{"shutdown", "same-fiber", Of::kShared, If::kVisible, Verdict::kSpurious, kOpenSsl40},
    VictimRow{"true-failure", "same-fiber", Of::kShared, If::kVisible, Verdict::kLost, kNever},
    VictimRow{"own-errors", "same-fiber", Of::kClear, If::kVisible, Verdict::kLost, kNever},
    VictimRow{"read", "between-calls", Of::kShared, If::kVisible, Verdict::kSpurious, kOpenSsl40},
    VictimRow{"peek", "between-calls", Of::kShared, If::kVisible, Verdict::kSpurious, kOpenSsl40},
    VictimRow{"write", "between-calls", Of::kShared, If::kVisible, Verdict::kSpurious, kOpenSsl40},
    VictimRow{"shutdown", "between-calls", Of::kShared, If::kVisible, Verdict::kSpurious,
              kOpenSsl40},
    VictimRow{"woken-reader", "between-calls", Of::kShared, If::kVisible, Verdict::kSpurious,
              kOpenSsl40},
    VictimRow{"five", "between-calls", Of::kShared, If::kVisible, Verdict::kSpurious, kOpenSsl40},
    VictimRow{"true-failure", "between-calls", Of::kShared, If::kVisible, Verdict::kLost, kNever},
    VictimRow{"read", "bio-read", Of::kSharedAndClear, If::kVisible, Verdict::kSpurious,
              kOpenSsl40},
    VictimRow{"handshake", "bio-read", Of::kSharedAndClear, If::kVisible, Verdict::kSpurious,
              kOpenSsl40},
    VictimRow{"untrusted", "alert-write", Of::kSharedAndClear, If::kWipes, Verdict::kLost, kNever,
              "untrusted"},  // It puts the very same reason in place of the victim's.
    VictimRow{"handshake", "sni-callback", Of::kSharedAndClear, If::kVisible, Verdict::kSpurious,
              kOpenSsl40},
    VictimRow{"handshake", "verify-callback", Of::kSharedAndClear, If::kVisible, Verdict::kLost,
              kNever},
    VictimRow{"read", "before-get-error", Of::kSharedAndClear, If::kVisible, Verdict::kSpurious,
              kOpenSsl40},
    VictimRow{"evp", "before-reading", Of::kSharedAndClear, If::kEither, Verdict::kLost, kNever},
};

bool falls_for_it(Of of, Isolation claims) {
  switch (claims) {
    case Isolation::kShared:
      return of != Of::kClear;
    case Isolation::kClear:
      return of != Of::kShared;
    case Isolation::kIsolated:
      break;
  }
  return false;
}

bool does_harm(If what, const LeakerFacts& leaker) {
  const bool visible = leaker.leaves == Leaves::kOther || leaker.leaves == Leaves::kSystem;
  switch (what) {
    case If::kVisible:
      return visible;
    case If::kWipes:
      return leaker.wipes;
    case If::kEither:
      return visible || leaker.wipes;
  }
  return false;
}

}  // namespace

LeakerFacts facts_of(std::string_view leaker, unsigned long openssl) {
  const LeakerRow* found = nullptr;
  for (const LeakerRow& row : kLeakers) {
    if (row.leaker == leaker && row.since <= openssl) found = &row;
  }
  HEDDLE_ASSERT(found != nullptr);
  return {found->leaves, found->wipes};
}

Verdict expected_verdict(const Scenario& scenario, const LeakerFacts& leaker, Isolation claims,
                         unsigned long openssl) {
  for (const VictimRow& row : kVictims) {
    if (row.victim == scenario.victim && row.switch_point == scenario.switch_point &&
        openssl < row.until && scenario.leaker != row.except && falls_for_it(row.of, claims) &&
        does_harm(row.leaker, leaker)) {
      return row.verdict;
    }
  }
  return Verdict::kHealthy;
}

}  // namespace heddle::stale
