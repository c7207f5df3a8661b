// The alert that ended a connection, and the certificate that was to blame, as fields.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "heddle/error.h"
#include "heddle/tls/context.h"

#include "support/handshake_outcome.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::HandshakeOutcome;

class AlertTest : public testing::TestWithParam<TlsVersion> {
 protected:
  AlertTest() {
    server_.set_versions(GetParam(), GetParam()).value();
    client_.set_versions(GetParam(), GetParam()).value();
  }

  // Whoever refuses names its own alert, and the other one the same as its peer's.
  static void expect_alert(const std::optional<Error>& ours, const std::optional<Error>& theirs,
                           std::string_view name) {
    ASSERT_TRUE(ours);
    EXPECT_EQ(ours->alert_origin, AlertOrigin::kOurs) << ours->message();
    EXPECT_EQ(alert_name(ours->alert), name);
    ASSERT_TRUE(theirs);
    EXPECT_EQ(theirs->alert_origin, AlertOrigin::kPeer) << theirs->message();
    EXPECT_EQ(alert_name(theirs->alert), name);
  }

  Context server_ = test::server_context();
  Context client_ = test::client_context();
  HandshakeOutcome both_;
};

TEST_P(AlertTest, ClientThatDoesNotTrustTheServerSaysUnknownCa) {
  Context distrusting = Context::create(Role::kClient, Trust::kNothing).value();
  distrusting.set_versions(GetParam(), GetParam()).value();
  test::connect(both_, server_, distrusting);
  ASSERT_TRUE(both_.client_error);
  EXPECT_EQ(both_.client_error->code, Errc::kUntrusted);
  expect_alert(both_.client_error, both_.server_error, "unknown_ca");
}

TEST_P(AlertTest, ServerWithoutAProtocolInCommonSaysNoApplicationProtocol) {
  server_.set_alpn_protocols(std::vector<std::string_view>{"h2"}).value();
  client_.set_alpn_protocols(std::vector<std::string_view>{"imap"}).value();
  test::connect(both_, server_, client_);
  expect_alert(both_.server_error, both_.client_error, "no_application_protocol");
  EXPECT_EQ(both_.server.tls->handshake().error().alert, both_.server_error->alert)
      << "later calls say the same";
}

// The program's own refusal comes out as it is, with the alert.
TEST_P(AlertTest, RefusalByACallbackHasItsAlert) {
  server_.on_server_name([](const ClientHello&) -> Result<HelloAnswer> {
    return HelloAnswer::refuse(Alert::kUnrecognizedName);
  });
  test::connect(both_, server_, client_);
  expect_alert(both_.server_error, both_.client_error, "unrecognized_name");
}

TEST_P(AlertTest, ServerThatMissesACertificateSaysSo) {
  server_.set_verify_mode(VerifyMode::kRequired);
  test::connect(both_, server_, client_);
  expect_alert(both_.server_error, both_.client_error,
               GetParam() == TlsVersion::kTls13 ? "certificate_required" : "handshake_failure");
}

TEST_P(AlertTest, ConnectionThatIsCutHasNone) {
  both_.server.open(server_, "");
  both_.client.open(client_, test::kServerName);
  (void)both_.client.tls->handshake().value();
  both_.client.incoming.write_eof();
  const Error cut = both_.client.tls->handshake().error();
  EXPECT_EQ(cut.code, Errc::kTruncated);
  EXPECT_EQ(cut.alert_origin, AlertOrigin::kNone);
}

// The end of a connection is an alert, too, and no failure.
TEST_P(AlertTest, CloseNotifyIsNoFailure) {
  test::connect(both_, server_, client_);
  ASSERT_TRUE(both_.well());
  (void)both_.client.tls->shutdown().value();
  both_.server.incoming.write(both_.client.outgoing.readable()).value();
  EXPECT_EQ(both_.server.read_one()->kind, Progress::Kind::kEnd);
  both_.client.incoming.write_eof();
  const Error cut = both_.client.read_one().error();
  EXPECT_EQ(cut.alert_origin, AlertOrigin::kNone) << cut.message();
}

TEST_P(AlertTest, OurOwnEndIsNotWhatALaterFailureComesFrom) {
  bool fails = false;
  client_.on_message([&](const ConnectionView&, const TlsMessage& message) -> Result<void> {
    if (!fails || message.sent) return {};
    return Error{.code = Errc::kExhausted, .operation = "look at a message"};
  });
  test::connect(both_, server_, client_);
  (void)both_.client.tls->shutdown().value();
  (void)both_.server.tls->shutdown().value();
  test::move(both_.server.outgoing, both_.client.incoming);
  fails = true;
  const Error failed = both_.client.read_one().error();
  EXPECT_EQ(failed.code, Errc::kExhausted);
  EXPECT_EQ(failed.alert_origin, AlertOrigin::kNone);
}

// What a program has set itself is told of everything as before.
TEST_P(AlertTest, InfoCallbackOfTheSslCtxIsCalledAsBefore) {
  Context distrusting = Context::create(Role::kClient, Trust::kNothing).value();
  distrusting.set_versions(GetParam(), GetParam()).value();
  int alerts = 0;
  SSL_CTX_set_app_data(distrusting.native_handle(), &alerts);
  SSL_CTX_set_info_callback(distrusting.native_handle(), [](const SSL* ssl, int where, int) {
    if (where == SSL_CB_WRITE_ALERT) {
      ++*static_cast<int*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    }
  });
  test::connect(both_, server_, distrusting);
  ASSERT_TRUE(both_.client_error);
  EXPECT_EQ(both_.client_error->alert_origin, AlertOrigin::kOurs);
  EXPECT_EQ(alerts, 1);
}

TEST_P(AlertTest, CertificateThatDidNotVerifyIsNamed) {
  Context distrusting = Context::create(Role::kClient, Trust::kNothing).value();
  distrusting.set_versions(GetParam(), GetParam()).value();
  test::connect(both_, server_, distrusting);
  const auto failure = both_.client.tls->verify_failure();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
  EXPECT_EQ(failure->depth, 0);
  EXPECT_EQ(failure->subject, std::string("CN=") + test::kServerName);
  EXPECT_FALSE(both_.server.tls->verify_failure()) << "the peer's is not ours";
}

TEST_P(AlertTest, VerdictOfTheProgramsBlamesNoCertificate) {
  client_.on_verify([](const ConnectionView&, const PeerChain&) -> Result<int> {
    return X509_V_ERR_APPLICATION_VERIFICATION;
  });
  test::connect(both_, server_, client_);
  const auto failure = both_.client.tls->verify_failure();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, X509_V_ERR_APPLICATION_VERIFICATION);
  EXPECT_EQ(failure->depth, -1);
  EXPECT_EQ(failure->subject, "");
}

TEST_P(AlertTest, NothingFailedToVerifyWhereNothingFailed) {
  test::connect(both_, server_, client_);
  EXPECT_FALSE(both_.client.tls->verify_failure());
  EXPECT_FALSE(both_.server.tls->verify_failure());
}

INSTANTIATE_TEST_SUITE_P(Versions, AlertTest, test::kTlsVersions, test::version_name);

TEST(AlertNameTest, IsIanas) {
  EXPECT_STREQ(alert_name(0), "close_notify");
  EXPECT_STREQ(alert_name(48), "unknown_ca");
  EXPECT_STREQ(alert_name(116), "certificate_required");
  EXPECT_STREQ(alert_name(255), "unknown");
}

}  // namespace
}  // namespace heddle
