// TLS without our care: BIOs that hand OpenSSL straight to a transport, and real
// failing operations that leave entries in the error queue.
#pragma once

#include <memory>
#include <utility>

#include "heddle/tls/context.h"
#include "heddle/transport.h"

#include "openssl/handles.h"
#include "tls/machine/engine.h"
#include "tls/wire/link.h"

namespace heddle::test {

// What the BIO does when the transport would block.
enum class WhenBlocked : bool {
  kRefuse,  // Tells OpenSSL to be called again, as a non-blocking socket does.
  kPark,    // Parks the fiber inside OpenSSL, for a second at most; then refuses.
};

openssl::BioPtr make_direct_bio(Transport& transport, WhenBlocked when_blocked);

// An engine whose BIO is of no kind that it knows.
class RawEngine : private tls::BioState, public tls::Engine {
 public:
  RawEngine(openssl::SslPtr ssl, openssl::BioPtr bio)
      : tls::Engine(std::move(ssl), std::move(bio), static_cast<tls::BioState&>(*this)) {}
};

// An engine whose SSL reads and writes `transport` by a direct BIO.
std::unique_ptr<RawEngine> make_raw_engine(const Context& context, Transport& transport,
                                           WhenBlocked when_blocked);

// Repeats `op` as OpenSSL asks, waiting outside of it.
template <typename Op>
tls::Step drive(tls::Engine& engine, Transport& transport, Deadline deadline, Op op) {
  for (;;) {
    const tls::Step step = engine.call("test", op);
    if (step.kind == tls::Step::Kind::kWantRead) {
      if (transport.wait(Interest::kRead, deadline) == Wake::kReady) continue;
    } else if (step.kind == tls::Step::Kind::kWantWrite) {
      if (transport.wait(Interest::kWrite, deadline) == Wake::kReady) continue;
    }
    return step;
  }
}

enum class Leak : bool { kOther, kSystem };

// Fails at a real OpenSSL operation, and does not clean up: kOther leaves a PEM
// entry, kSystem one of ERR_LIB_SYS, each the oldest of the queue if it was empty.
void leave_entry(Leak leak);

}  // namespace heddle::test
