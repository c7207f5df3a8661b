// What signers for tests do.
#include "support/signers.h"

#include <algorithm>
#include <array>
#include <chrono>

#include <gtest/gtest.h>
#include <openssl/err.h>

#include "heddle/fiber.h"

#include "support/raw_tls.h"
#include "support/tls_pair.h"

namespace heddle::test {

std::shared_ptr<Signer> key_signer(KeyType type) {
  return make_key_signer(identity(type).key_pem).value();
}

Signature SlowSigner::sign(SignatureScheme scheme, std::span<const std::byte> message,
                           Deadline deadline) {
  schemes.push_back(scheme);
  ++inside;
  most_inside = std::max(most_inside, inside);
  leave_entry(Leak::kSystem);
  ERR_set_mark();
  this_fiber::sleep_until(this_fiber::after(std::chrono::milliseconds(10))).value();
  leave_entry(Leak::kOther);
  --inside;
  return key_->sign(scheme, message, deadline);
}

Context server_of(KeyType type, std::shared_ptr<Signer> signer) {
  Context context = Context::create(Role::kServer).value();
  context.use_cert_chain(identity(type).certificate_pem, std::move(signer)).value();
  return context;
}

Meeting::Meeting(sim::World& world, const Context& server, const Context& client)
    : pipe_(world),
      client_(test::client(client, pipe_.a())),
      server_(test::server(server, pipe_.b())) {}

void Meeting::shake_hands(Deadline deadline) {
  scope([&](Scope& fibers) {
    auto other = fibers.spawn("server", [&] { server_result = server_->handshake(deadline); });
    ASSERT_TRUE(other);
    client_result = client_->handshake(Deadline::never());
    // A TLS 1.3 client is done before the server has looked at the client's certificate.
    if (client_result) client_result = first_byte();
  });
}

void Meeting::expect_success() {
  EXPECT_TRUE(client_result) << client_result.error().message();
  EXPECT_TRUE(server_result) << server_result.error().message();
}

Result<void> Meeting::first_byte() {
  Result<std::size_t> got = std::size_t{0};
  scope([&](Scope& fibers) {
    ASSERT_TRUE(
        fibers.spawn("writer", [&] { (void)server_->write(bytes("."), Deadline::never()); }));
    std::array<std::byte, 1> into{};
    got = client_->read(into, Deadline::never());
  });
  return got ? Result<void>() : got.error();
}

}  // namespace heddle::test
