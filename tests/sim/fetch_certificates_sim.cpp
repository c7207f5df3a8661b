// fetch_certificates(): what a server shows, whether it is trusted or not. CPython's
// SimpleBackgroundTests.test_get_server_certificate and those that follow it.
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/tls/stream.h"

#include "support/chain.h"
#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

constexpr Deadline kNever = Deadline::never();

class FetchCertificatesSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  FetchCertificatesSim() {
    test::show(server_, leaf_, {&inter_});
    server_.on_client_hello([this](const ClientHello& hello) {
      asked_for_ = hello.server_name();
      return HelloAnswer::go_on();
    });
  }

  using Fetched = Result<std::vector<Certificate>>;
  Fetched fetch(const Context& client, const std::string& name) {
    std::optional<Fetched> fetched;
    world_.run([&] {
      auto server = test::server(server_, pipe_.b());
      test::together(
          {[&] { fetched = fetch_certificates(client, pipe_.a(), {.server_name = name}, kNever); },
           [&] {
             end_ = test::read_some(server);
             (void)server.close(world_.after(std::chrono::seconds(1)));
           }});
    });
    return *std::move(fetched);
  }

  sim::World world_{GetParam()};
  sim::Pipe pipe_{world_, {.short_io = 3, .would_block = 3}};
  test::Issued root_ = test::issue({.common_name = "root", .is_ca = true});
  test::Issued inter_ = test::issue({.common_name = "inter", .is_ca = true}, &root_);
  test::Issued leaf_ = test::issue({.common_name = "leaf"}, &inter_);
  Context server_ = Context::create(Role::kServer).value();
  Context client_ = Context::create(Role::kClient, Trust::kNothing).value();
  std::string asked_for_;
  Result<std::size_t> end_ = std::size_t{1};  // What the server reads.
};

TEST_P(FetchCertificatesSim, ThoseOfAServerThatNobodyTrusts) {
  client_.set_verify_mode(VerifyMode::kNone);
  client_.set_check_hostname(false);
  const auto fetched = fetch(client_, "other.test");
  ASSERT_TRUE(fetched) << fetched.error().message();
  ASSERT_EQ(fetched->size(), 2U);
  EXPECT_EQ((*fetched)[0].subject, "CN=leaf");
  EXPECT_EQ((*fetched)[1].subject, "CN=inter");
  EXPECT_EQ(asked_for_, "other.test");
  ASSERT_TRUE(end_) << end_.error().message();
  EXPECT_EQ(*end_, 0U) << "the server is told of the end";
}

TEST_P(FetchCertificatesSim, ThoseOfATrustedOneAlone) {
  test::trust(client_, root_);
  const auto fetched = fetch(client_, test::kServerName);
  ASSERT_TRUE(fetched) << fetched.error().message();
  EXPECT_EQ(fetched->size(), 2U);
}

TEST_P(FetchCertificatesSim, WrongTrustIsAnError) {
  test::trust(client_, test::issue({.common_name = "stranger", .is_ca = true}));
  const auto refused = fetch(client_, test::kServerName);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kUntrusted);
  ASSERT_FALSE(end_);
  EXPECT_EQ(ERR_GET_REASON(end_.error().openssl_code), SSL_R_TLSV1_ALERT_UNKNOWN_CA);
}

TEST_P(FetchCertificatesSim, MuteServerIsGivenUpAtTheDeadline) {
  world_.run([&] {
    const Deadline deadline = world_.after(std::chrono::seconds(10));
    const auto late =
        fetch_certificates(client_, pipe_.a(), {.server_name = test::kServerName}, deadline);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Errc::kTimedOut);
    EXPECT_EQ(world_.now(), deadline.time());
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, FetchCertificatesSim, test::seeds(1, 9), test::kSeedName);

}  // namespace
}  // namespace heddle
