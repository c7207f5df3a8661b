// Messages that a Stream begins after the handshake, while both ends read and write.
#include <cstdint>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "heddle/tls/stream.h"

#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

constexpr Deadline kNever = Deadline::never();
constexpr std::size_t kBytes = 20'000;

class PostHandshakeSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  sim::World world_{GetParam()};
  Context server_ = test::server_context();
  Context client_ = test::client_context();
};

void write_all(Stream& stream, char byte) {
  const std::string text(kBytes / 10, byte);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(stream.write(text, kNever));
}

// Each end writes, reads and asks for new keys, in fibers of their own.
TEST_P(PostHandshakeSim, KeysAreExchangedBetweenReadsAndWrites) {
  world_.run([&] {
    sim::Pipe pipe(world_);
    auto client = test::client(client_, pipe.a());
    auto server = test::server(server_, pipe.b());
    test::together(
        {[&] { client.handshake(kNever).value(); }, [&] { server.handshake(kNever).value(); }});
    const auto renew = [](Stream& stream) {
      for (int i = 0; i < 5; ++i) {
        const auto done = stream.update_keys(i % 2 == 0, kNever);
        ASSERT_TRUE(done) << done.error().message();
        ASSERT_TRUE(this_fiber::yield());
      }
    };
    const auto read = [](Stream& stream, char byte) {
      EXPECT_EQ(test::read_text(stream, kBytes, kNever), std::string(kBytes, byte));
    };
    test::together({[&] { write_all(client, 'c'); }, [&] { write_all(server, 's'); },
                    [&] { read(client, 's'); }, [&] { read(server, 'c'); }, [&] { renew(client); },
                    [&] { renew(server); }});
  });
}

TEST_P(PostHandshakeSim, CertificateIsAskedForWhileDataFlows) {
  const Identity& identity = test::identity(KeyType::kEcdsaP256);
  server_.add_trusted_certificates(test::bytes(identity.certificate_pem)).value();
  server_.set_verify_mode(VerifyMode::kRequired);
  server_.set_post_handshake_auth(true);
  client_.set_post_handshake_auth(true);
  int asked = 0;
  client_.on_certificate([&](const ConnectionView&) -> Result<std::optional<Credentials>> {
    ++asked;
    (void)this_fiber::yield();
    return std::optional(Credentials::parse(identity.certificate_pem, identity.key_pem).value());
  });
  world_.run([&] {
    sim::Pipe pipe(world_);
    auto client = test::client(client_, pipe.a());
    auto server = test::server(server_, pipe.b());
    test::together(
        {[&] { client.handshake(kNever).value(); }, [&] { server.handshake(kNever).value(); }});
    EXPECT_TRUE(server.peer_certificates().empty());
    test::together({[&] {
                      const auto done = server.request_client_certificate(kNever);
                      ASSERT_TRUE(done) << done.error().message();
                    },
                    [&] { write_all(server, 's'); },
                    [&] {
                      EXPECT_EQ(test::read_text(client, kBytes, kNever), std::string(kBytes, 's'));
                      // The request may come behind the data.
                      ASSERT_TRUE(client.write("done", kNever));
                      ASSERT_TRUE(client.shutdown_write(kNever));
                      EXPECT_EQ(test::read_some(client).value(), 0U);
                    },
                    [&] {
                      EXPECT_EQ(test::read_text(server, 4, kNever), "done");
                      (void)test::read_some(server);
                      ASSERT_TRUE(server.shutdown_write(kNever));
                    }});
    EXPECT_EQ(asked, 1);
  });
}

TEST_P(PostHandshakeSim, BeforeTheHandshakeThereAreNoKeysToChange) {
  world_.run([&] {
    sim::Pipe pipe(world_);
    auto client = test::client(client_, pipe.a());
    EXPECT_EQ(client.update_keys(true, kNever).error().code, Errc::kInvalid);
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, PostHandshakeSim, test::seeds(1, 17), test::kSeedName);

}  // namespace
}  // namespace heddle
