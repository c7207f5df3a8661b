// A handshake between two contexts, in memory, and how each end found it.
#pragma once

#include <optional>

#include "heddle/tls/ssl_object.h"

#include "support/ssl_object_pair.h"

namespace heddle::test {

struct HandshakeOutcome {
  bool well() const { return !client_error && !server_error; }

  End client;
  End server;
  std::optional<Error> client_error;
  std::optional<Error> server_error;
};

// Goes on after it, until neither end has anything to say. `outcome` has ends that are open.
inline void shake_hands(HandshakeOutcome& outcome) {
  const auto take = [](End& end, std::optional<Error>& error) {
    if (error) return;
    std::array<std::byte, 1> one{};
    auto progress = end.tls->handshake();
    if (progress && progress->kind == Progress::Kind::kDone) progress = end.tls->peek(one);
    if (!progress) error = progress.error();
  };
  for (int flight = 0; flight < 6; ++flight) {
    take(outcome.client, outcome.client_error);
    move(outcome.client.outgoing, outcome.server.incoming);
    take(outcome.server, outcome.server_error);
    move(outcome.server.outgoing, outcome.client.incoming);
  }
}

// Filled in place: the objects keep pointers to their MemoryBios.
inline void connect(HandshakeOutcome& outcome, const Context& server, const Context& client) {
  outcome.server.open(server, "");
  outcome.client.open(client, kServerName);
  shake_hands(outcome);
}

}  // namespace heddle::test
