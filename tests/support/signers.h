// Signers that take their time, and handshakes with them, for the simulator.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "heddle/tls/context.h"
#include "heddle/tls/private_key.h"
#include "heddle/tls/stream.h"

#include "support/sim.h"

namespace heddle::test {

using Signature = Result<std::vector<std::byte>>;

// With the key of identity(type), in line.
std::shared_ptr<Signer> key_signer(KeyType type);

// SlowSigner parks, as a remote one would, and leaves a mess in OpenSSL's queue.
class SlowSigner final : public Signer {
 public:
  explicit SlowSigner(KeyType type) : key_(key_signer(type)) {}

  Signature sign(SignatureScheme scheme, std::span<const std::byte> message,
                 Deadline deadline) override;

  std::vector<SignatureScheme> schemes;  // What it was asked for.
  int inside = 0;
  int most_inside = 0;

 private:
  std::shared_ptr<Signer> key_;
};

// CallSigner signs with a lambda.
class CallSigner final : public Signer {
 public:
  using Function = std::function<Signature(SignatureScheme, std::span<const std::byte>, Deadline)>;
  explicit CallSigner(Function function) : function_(std::move(function)) {}

  Signature sign(SignatureScheme scheme, std::span<const std::byte> message,
                 Deadline deadline) override {
    return function_(scheme, message, deadline);
  }

 private:
  Function function_;
};

// A server with the certificate of identity(type).
Context server_of(KeyType type, std::shared_ptr<Signer> signer);

// One connection between two contexts.
class Meeting {
 public:
  Meeting(sim::World& world, const Context& server, const Context& client);

  // In a fiber. `deadline` is the server's.
  void shake_hands(Deadline deadline = Deadline::never());

  void expect_success();

  Stream& client() { return *client_; }
  Stream& server() { return *server_; }

  Result<void> client_result;
  Result<void> server_result;

 private:
  Result<void> first_byte();

  sim::Pipe pipe_;
  std::optional<Stream> client_;
  std::optional<Stream> server_;
};

}  // namespace heddle::test
