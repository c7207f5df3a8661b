// A private key on another machine: the signer that asks for signatures over TLS, and the service
// that makes them. Both ends show who they are with certificates.
//
// On the wire, numbers big-endian: the scheme (2 bytes), the length of the message (4), the
// message. The answer: 1 or 0 for signed or refused, the length of the signature (4), the
// signature. One question per connection.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "heddle/tls/context.h"
#include "heddle/tls/private_key.h"
#include "heddle/tls/stream.h"

namespace heddle::test {

class RemoteSigner final : public Signer {
 public:
  // Makes a connection to the service; may park.
  using Connect = std::function<Result<std::unique_ptr<Transport>>(Deadline)>;

  // `context` outlives the signer.
  RemoteSigner(const Context& context, Connect connect)
      : context_(context), connect_(std::move(connect)) {}

  Result<std::vector<std::byte>> sign(SignatureScheme scheme, std::span<const std::byte> message,
                                      Deadline deadline) override;

 private:
  const Context& context_;
  Connect connect_;
};

// Answers the one question on `stream`.
Result<void> serve_signature(Stream& stream, Signer& signer, Deadline deadline);

// Contexts for the two: the one's certificate is all that the other trusts.
Context signing_service_context();
Context signing_client_context();

}  // namespace heddle::test
