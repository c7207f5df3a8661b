// Messages that one end begins after the handshake: new keys, and a certificate that is asked for
// later (TestPostHandshakeAuth of CPython's tests).
#include <string>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "support/handshake_outcome.h"
#include "support/own_entries.h"
#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using Kind = Progress::Kind;

class KeyUpdateTest : public test::SslObjectPair {};

TEST_P(KeyUpdateTest, DataGoesOnUnderNewKeys) {
  EXPECT_EQ(client_.tls->update_keys(true).error().code, Errc::kInvalid) << "before the handshake";
  handshake();
  if (GetParam() == TlsVersion::kTls12) {
    EXPECT_EQ(client_.tls->update_keys(true).error().code, Errc::kInvalid);
  } else {
    for (const bool ask_peer : {false, true}) {
      ASSERT_EQ(client_.tls->update_keys(ask_peer)->kind, Kind::kDone);
      EXPECT_GT(client_.outgoing.pending(), 0U);
    }
  }
  client_.write("ping").value();
  exchange();
  EXPECT_EQ(server_.read(), "ping");
  server_.write("pong").value();
  exchange();
  EXPECT_EQ(client_.read(), "pong");
  client_.tls->shutdown().value();
  EXPECT_FALSE(client_.tls->update_keys(false)) << "after our end";
}

TEST_P(KeyUpdateTest, CallThatFoundNoRoomIsRepeated) {
  handshake();
  if (GetParam() == TlsVersion::kTls12) GTEST_SKIP() << "only TLS 1.3 has KeyUpdates";
  const std::string much(SslObject::kOutgoingBytesMax + 1, 'x');
  ASSERT_EQ(client_.write(much)->kind, Kind::kDone);
  ASSERT_EQ(client_.tls->update_keys(false)->kind, Kind::kWantWrite);
  exchange();
  EXPECT_EQ(client_.tls->update_keys(false)->kind, Kind::kDone);
  exchange();
  EXPECT_EQ(server_.read(), much);
}

INSTANTIATE_TEST_SUITE_P(, KeyUpdateTest, test::kTlsVersions, test::version_name);

class PostHandshakeTest : public testing::Test {
 protected:
  void SetUp() override {
    server_.add_trusted_certificates(test::bytes(client_identity_.certificate_pem)).value();
    server_.set_verify_mode(VerifyMode::kRequired);
    server_.set_post_handshake_auth(true);
    client_.set_post_handshake_auth(true);
  }
  void give_client_a_certificate() {
    client_.use_cert_chain(client_identity_.certificate_pem, client_identity_.key_pem).value();
  }
  // Without a certificate.
  void connect() {
    test::connect(talk_, server_, client_);
    ASSERT_TRUE(talk_.well());
    ASSERT_TRUE(talk_.server.tls->peer_certificates().empty());
  }
  std::size_t certificates() const { return talk_.server.tls->peer_certificates().size(); }

  test::OwnEntries entries_;
  const Identity& client_identity_ = test::identity(KeyType::kEcdsaP256);
  Context server_ = test::server_context();
  Context client_ = test::client_context();
  test::HandshakeOutcome talk_;
};

// test_pha_setter.
TEST_F(PostHandshakeTest, SwitchIsOffAndIndependentOfTheVerifyMode) {
  for (const Role role : {Role::kClient, Role::kServer}) {
    Context context = Context::create(role, Trust::kNothing).value();
    EXPECT_FALSE(context.post_handshake_auth());
    context.set_verify_mode(VerifyMode::kRequired);
    EXPECT_FALSE(context.post_handshake_auth());
    context.set_post_handshake_auth(true);
    EXPECT_EQ(context.verify_mode(), VerifyMode::kRequired);
    context.set_verify_mode(VerifyMode::kNone);
    EXPECT_TRUE(context.post_handshake_auth());
    EXPECT_EQ(context.verify_mode(), VerifyMode::kNone);
    context.set_post_handshake_auth(false);
    EXPECT_FALSE(context.post_handshake_auth());
  }
}

// test_pha_required.
TEST_F(PostHandshakeTest, CertificateComesLater) {
  give_client_a_certificate();
  connect();
  ASSERT_EQ(talk_.server.tls->request_client_certificate()->kind, Kind::kDone);
  EXPECT_EQ(certificates(), 0U) << "it is asked for";
  EXPECT_EQ(talk_.server.tls->request_client_certificate().error().code, Errc::kInvalid)
      << "one request at a time";
  test::shake_hands(talk_);
  ASSERT_TRUE(talk_.well());
  EXPECT_EQ(certificates(), 1U);
  EXPECT_EQ(talk_.server.tls->verified_chain().size(), 1U);
  talk_.client.write("ping").value();
  test::move(talk_.client.outgoing, talk_.server.incoming);
  EXPECT_EQ(talk_.server.read(), "ping");
}

// test_pha_required_nocert.
TEST_F(PostHandshakeTest, ClientWithoutOneIsRefusedIfItIsRequired) {
  connect();
  ASSERT_TRUE(talk_.server.tls->request_client_certificate());
  test::shake_hands(talk_);
  ASSERT_TRUE(talk_.server_error);
  EXPECT_EQ(ERR_GET_REASON(talk_.server_error->openssl_code),
            SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE);
  ASSERT_TRUE(talk_.client_error);
  EXPECT_EQ(ERR_GET_REASON(talk_.client_error->openssl_code),
            SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED);
}

// test_pha_optional.
TEST_F(PostHandshakeTest, CertificateIsTakenWhereItIsOptional) {
  server_.set_verify_mode(VerifyMode::kOptional);
  give_client_a_certificate();
  connect();
  ASSERT_TRUE(talk_.server.tls->request_client_certificate());
  test::shake_hands(talk_);
  EXPECT_TRUE(talk_.well());
  EXPECT_EQ(certificates(), 1U);
}

// test_pha_optional_nocert.
TEST_F(PostHandshakeTest, ClientWithoutOneGoesOnIfItIsOptional) {
  server_.set_verify_mode(VerifyMode::kOptional);
  connect();
  ASSERT_TRUE(talk_.server.tls->request_client_certificate());
  test::shake_hands(talk_);
  EXPECT_TRUE(talk_.well());
  EXPECT_EQ(certificates(), 0U);
}

TEST_F(PostHandshakeTest, CertificateThatDoesNotVerifyIsUntrusted) {
  const Identity& stranger = test::identity(KeyType::kRsa2048);
  client_.use_cert_chain(stranger.certificate_pem, stranger.key_pem).value();
  connect();
  ASSERT_TRUE(talk_.server.tls->request_client_certificate());
  test::shake_hands(talk_);
  ASSERT_TRUE(talk_.server_error);
  EXPECT_EQ(talk_.server_error->code, Errc::kUntrusted);
}

// OpenSSL writes the KeyUpdate first, and forgets the request.
TEST_F(PostHandshakeTest, RequestIsSentBehindAKeyUpdateThatIsOwed) {
  give_client_a_certificate();
  connect();
  ASSERT_TRUE(talk_.client.tls->update_keys(/*ask_peer=*/true));
  talk_.client.write("ping").value();
  test::move(talk_.client.outgoing, talk_.server.incoming);
  EXPECT_EQ(talk_.server.read(), "ping");
  ASSERT_EQ(talk_.server.tls->request_client_certificate()->kind, Kind::kDone);
  test::shake_hands(talk_);
  ASSERT_TRUE(talk_.well());
  EXPECT_EQ(certificates(), 1U);
}

// test_pha_no_pha_client.
TEST_F(PostHandshakeTest, ClientThatHasNotOfferedItIsNotAsked) {
  client_.set_post_handshake_auth(false);
  give_client_a_certificate();
  connect();
  EXPECT_EQ(talk_.server.tls->request_client_certificate().error().code, Errc::kInvalid);
  EXPECT_EQ(talk_.client.tls->request_client_certificate().error().code, Errc::kInvalid)
      << "a client cannot ask";
  talk_.client.write("ping").value();
  test::move(talk_.client.outgoing, talk_.server.incoming);
  EXPECT_EQ(talk_.server.read(), "ping") << "the connection is as it was";
}

// test_pha_no_pha_server.
TEST_F(PostHandshakeTest, CertificateOfTheHandshakeMayBeAskedForAgain) {
  server_.set_post_handshake_auth(false);
  give_client_a_certificate();
  test::connect(talk_, server_, client_);
  ASSERT_TRUE(talk_.well());
  EXPECT_EQ(certificates(), 1U);
  ASSERT_TRUE(talk_.server.tls->request_client_certificate());
  test::shake_hands(talk_);
  ASSERT_TRUE(talk_.well());
  EXPECT_EQ(certificates(), 1U);
}

// test_pha_not_tls13.
TEST_F(PostHandshakeTest, Tls12HasNone) {
  server_.set_versions(TlsVersion::kTls12, TlsVersion::kTls12).value();
  give_client_a_certificate();
  test::connect(talk_, server_, client_);
  ASSERT_TRUE(talk_.well());
  const auto refused = talk_.server.tls->request_client_certificate();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
  EXPECT_EQ(ERR_GET_REASON(refused.error().openssl_code), SSL_R_WRONG_SSL_VERSION);
}

TEST_F(PostHandshakeTest, NobodyIsAskedBeforeTheHandshakeIsDone) {
  test::End server;
  server.open(server_, "");
  EXPECT_EQ(server.tls->request_client_certificate().error().code, Errc::kInvalid);
}

// test_bpo37428_pha_cert_none.
TEST_F(PostHandshakeTest, ClientThatOffersItDoesNotVerifyMoreThanBefore) {
  client_ = Context::create(Role::kClient, Trust::kNothing).value();
  client_.set_verify_mode(VerifyMode::kNone);
  client_.set_check_hostname(false);
  client_.set_post_handshake_auth(true);
  give_client_a_certificate();
  connect();
  ASSERT_TRUE(talk_.server.tls->request_client_certificate());
  test::shake_hands(talk_);
  EXPECT_TRUE(talk_.well());
  EXPECT_EQ(certificates(), 1U);
}

// Or one without a certificate would be as good as one that was asked for it.
TEST_F(PostHandshakeTest, SessionWithoutACertificateIsNotResumedWhereOneIsRequired) {
  connect();
  const Session session(SSL_get_session(talk_.client.tls->native_handle()));
  ASSERT_TRUE(session.is_resumable());
  test::HandshakeOutcome again;
  again.server.open(server_, "");
  again.client.tls = SslObject::create(client_, again.client.incoming, again.client.outgoing,
                                       {.server_name = test::kServerName, .session = session})
                         .value();
  test::shake_hands(again);
  ASSERT_TRUE(again.well());
  EXPECT_FALSE(again.server.tls->connection_state().resumed);
}

}  // namespace
}  // namespace heddle
