// SslObject: how a connection ends, and what follows.
#include <array>
#include <string>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/tls/ssl_object.h"

#include "support/ssl_object_pair.h"

namespace heddle {
namespace {

using test::bytes;
using test::End;
using test::move;
using Kind = Progress::Kind;

class SslObjectEndTest : public test::SslObjectPair {};

// CPython: SSLObjectTests.test_unwrap.
TEST_P(SslObjectEndTest, ShutdownWaitsForTheOtherSidesCloseNotify) {
  handshake();
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kWantRead);
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kWantRead) << "nothing has come";
  exchange();
  EXPECT_EQ(server_.read_one()->kind, Kind::kEnd);
  EXPECT_EQ(server_.tls->shutdown()->kind, Kind::kDone);
  const std::size_t alert = server_.outgoing.pending();
  EXPECT_EQ(server_.tls->shutdown()->kind, Kind::kDone);
  EXPECT_EQ(server_.outgoing.pending(), alert) << "close_notify was sent again";
  exchange();
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kDone);
  for (End* end : {&client_, &server_}) {
    EXPECT_EQ(end->read_one()->kind, Kind::kEnd);
    EXPECT_EQ(end->write("too late").error().code, Errc::kDisconnected);
  }
}

TEST_P(SslObjectEndTest, HalfCloseLetsThePeerFinish) {
  handshake();
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kWantRead);
  exchange();
  EXPECT_EQ(server_.read_one()->kind, Kind::kEnd);
  EXPECT_TRUE(server_.write("the answer"));
  EXPECT_EQ(server_.tls->shutdown()->kind, Kind::kDone);
  exchange();
  const Result<Progress> early = client_.tls->shutdown();
  ASSERT_FALSE(early) << "the answer would be lost";
  EXPECT_EQ(early.error().code, Errc::kInvalid);
  EXPECT_EQ(client_.read(), "the answer");
  EXPECT_EQ(client_.read_one()->kind, Kind::kEnd);
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kDone);
}

// OpenSSL would answer the first one when it reads the second.
TEST_P(SslObjectEndTest, NothingFollowsOurCloseNotifyWhateverThePeerAsksFor) {
  if (GetParam() == TlsVersion::kTls12) GTEST_SKIP() << "only TLS 1.3 has KeyUpdates";
  handshake();
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kWantRead);
  move(client_.outgoing, server_.incoming);
  for (const char* text : {"a", "b"}) {
    ASSERT_EQ(SSL_key_update(server_.tls->native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
    EXPECT_TRUE(server_.write(text));
  }
  move(server_.outgoing, client_.incoming);
  EXPECT_EQ(client_.read(), "ab");
  EXPECT_EQ(client_.outgoing.pending(), 0U);
}

TEST_P(SslObjectEndTest, WhatComesBehindCloseNotifyIsLeftForTheUser) {
  SSL_CTX_set_read_ahead(client_context_.native_handle(), 1);  // Whatever the SSL_CTX says.
  open();
  handshake();
  EXPECT_EQ(server_.tls->shutdown()->kind, Kind::kWantRead);
  EXPECT_TRUE(server_.outgoing.write(bytes("plain text again")));
  exchange();
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kDone);
  std::string rest(100, '\0');
  rest.resize(client_.incoming.read(std::as_writable_bytes(std::span(rest))));
  EXPECT_EQ(rest, "plain text again");
}

TEST_P(SslObjectEndTest, ShutdownBeforeTheHandshakeEndsNothing) {
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kDone);
  EXPECT_EQ(client_.outgoing.pending(), 0U);
  handshake();
  EXPECT_TRUE(client_.write("it can still begin"));
}

// OpenSSL calls it an error to shut down in the middle of a message that comes after the handshake.
TEST_P(SslObjectEndTest, ShutdownWithHalfATicketGoesThroughTheRest) {
  if (GetParam() == TlsVersion::kTls12) GTEST_SKIP() << "only in TLS 1.3 tickets come afterwards";
  // The ticket holds the client's certificate, and so takes several records.
  const Identity& identity = test::identity();
  client_context_.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
  server_context_.add_trusted_certificates(bytes(identity.certificate_pem)).value();
  server_context_.set_verify_mode(VerifyMode::kRequired);
  open();
  ASSERT_EQ(SSL_set_max_send_fragment(server_.tls->native_handle(), 512), 1);
  for (int flight = 0; flight < 2; ++flight) {
    (void)client_.tls->handshake().value();
    move(client_.outgoing, server_.incoming);
    if (flight == 0) (void)server_.tls->handshake().value();
    move(server_.outgoing, client_.incoming);
  }
  ASSERT_EQ(server_.tls->handshake()->kind, Kind::kDone);
  ASSERT_GT(server_.outgoing.pending(), 600U);
  move(server_.outgoing, client_.incoming, 600);
  ASSERT_EQ(client_.read_one()->kind, Kind::kWantRead);
  ASSERT_NE(SSL_in_init(client_.tls->native_handle()), 0) << "the ticket is half read";

  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kWantRead);
  exchange();
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kWantRead);
  exchange();
  EXPECT_EQ(server_.tls->shutdown()->kind, Kind::kDone);
  exchange();
  EXPECT_EQ(client_.tls->shutdown()->kind, Kind::kDone);
}

// CPython: SimpleBackgroundTests.test_transport_eof, ThreadedTests.test_got_eof.
TEST_P(SslObjectEndTest, EndWithoutCloseNotifyIsTruncatedAndStaysSo) {
  handshake();
  EXPECT_TRUE(server_.write("all of it?"));
  exchange();
  client_.incoming.write_eof();
  EXPECT_FALSE(client_.incoming.eof());
  std::array<std::byte, 10> some{};
  EXPECT_EQ(client_.tls->read(some)->bytes, 10U) << "what came whole is data";
  const Result<Progress> cut = client_.tls->read(some);
  ASSERT_FALSE(cut);
  EXPECT_EQ(ERR_GET_REASON(cut.error().openssl_code), SSL_R_UNEXPECTED_EOF_WHILE_READING);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(client_.tls->read(some).error().code, Errc::kTruncated);
    EXPECT_EQ(client_.write("x").error().code, Errc::kTruncated);
    EXPECT_EQ(client_.tls->shutdown().error().code, Errc::kTruncated);
    EXPECT_EQ(client_.tls->handshake().error().code, Errc::kTruncated);
  }
}

TEST_P(SslObjectEndTest, EndInARecordIsTruncated) {
  handshake();
  EXPECT_TRUE(server_.write("cut"));
  move(server_.outgoing, client_.incoming, 7);
  client_.incoming.write_eof();
  EXPECT_EQ(client_.read_one().error().code, Errc::kTruncated);
}

TEST_P(SslObjectEndTest, EndInTheHandshakeIsTruncated) {
  EXPECT_EQ(client_.tls->handshake()->kind, Kind::kWantRead);
  client_.incoming.write_eof();
  EXPECT_EQ(client_.tls->handshake().error().code, Errc::kTruncated);

  move(client_.outgoing, server_.incoming, 20);
  server_.incoming.write_eof();
  EXPECT_EQ(server_.tls->handshake().error().code, Errc::kTruncated);
}

TEST_P(SslObjectEndTest, CloseNotifyInTheHandshakeIsADisconnection) {
  constexpr std::string_view kCloseNotify("\x15\x03\x03\0\x02\x01\0", 7);
  EXPECT_EQ(client_.tls->handshake()->kind, Kind::kWantRead);
  EXPECT_TRUE(client_.incoming.write(bytes(kCloseNotify)));
  EXPECT_EQ(client_.tls->handshake().error().code, Errc::kDisconnected);
  EXPECT_EQ(client_.write("x").error().code, Errc::kDisconnected);
}

TEST_P(SslObjectEndTest, JunkIsRefusedWithAnAlertAndStaysRefused) {
  // A record of five bytes that are no message of a handshake.
  EXPECT_TRUE(server_.incoming.write(bytes({"\x16\x03\x01\0\x05hello", 10})));
  const Result<Progress> first = server_.tls->handshake();
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Errc::kProtocol);
  EXPECT_GT(server_.outgoing.pending(), 0U) << "the alert";
  EXPECT_EQ(server_.read_one().error().openssl_code, first.error().openssl_code);
}

TEST_P(SslObjectEndTest, ShutdownInTheMiddleOfAHelloAwaitsItsRest) {
  EXPECT_EQ(server_.tls->shutdown()->kind, Kind::kDone) << "nothing has begun";
  EXPECT_EQ(client_.tls->handshake()->kind, Kind::kWantRead);
  move(client_.outgoing, server_.incoming, 20);
  EXPECT_EQ(server_.tls->handshake()->kind, Kind::kWantRead);
  EXPECT_EQ(server_.incoming.pending(), 0U);
  EXPECT_EQ(server_.tls->shutdown()->kind, Kind::kWantRead);
}

// CPython: ThreadedTests.test_ssl_cert_verify_error.
TEST_P(SslObjectEndTest, UntrustedPeerIsNamedSoAndToldSo) {
  const Context trusts_nothing = Context::create(Role::kClient, Trust::kNothing).value();
  client_.open(trusts_nothing, test::kServerName);
  (void)client_.tls->handshake().value();
  exchange();
  (void)server_.tls->handshake().value();
  exchange();
  const Result<Progress> refused = client_.tls->handshake();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kUntrusted);
  EXPECT_EQ(refused.error().verify_code, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
  exchange();
  EXPECT_EQ(server_.read_one().error().code, Errc::kProtocol) << "the alert";
}

// CPython: ThreadedTests.test_wrong_cert_tls12, test_wrong_cert_tls13.
TEST_P(SslObjectEndTest, ClientLearnsInTls13FromItsFirstReadThatItsCertificateIsRefused) {
  const Identity& stranger = test::identity(KeyType::kEcdsaP256);
  client_context_.use_cert_chain(stranger.certificate_pem, stranger.key_pem).value();
  server_context_.set_verify_mode(VerifyMode::kRequired);
  open();
  (void)client_.tls->handshake().value();
  exchange();
  (void)server_.tls->handshake().value();
  exchange();
  const Result<Progress> shaken = client_.tls->handshake();
  ASSERT_TRUE(shaken);
  const bool is_13 = GetParam() == TlsVersion::kTls13;
  EXPECT_EQ(shaken->kind, is_13 ? Kind::kDone : Kind::kWantRead);
  exchange();
  EXPECT_EQ(server_.tls->handshake().error().code, Errc::kUntrusted);
  exchange();
  const Result<Progress> told = is_13 ? client_.read_one() : client_.tls->handshake();
  ASSERT_FALSE(told);
  EXPECT_EQ(ERR_GET_REASON(told.error().openssl_code), SSL_R_TLSV1_ALERT_UNKNOWN_CA);
}

// A value of its time: CPython forgets the version when the connection is closed.
TEST_P(SslObjectEndTest, WhatWasNegotiatedStaysKnownAfterTheEnd) {
  handshake();
  const std::string version(client_.tls->connection_state().version);
  EXPECT_NE(version, "");
  client_.incoming.write_eof();
  EXPECT_FALSE(client_.read_one());
  EXPECT_EQ(client_.tls->connection_state().version, version);
}

TEST_P(SslObjectEndTest, OutgoingThatTheUserEndedIsADisconnection) {
  handshake();
  client_.outgoing.write_eof();
  EXPECT_EQ(client_.write("x").error().code, Errc::kDisconnected);
  EXPECT_EQ(client_.read_one().error().code, Errc::kDisconnected);
}

// A peer that asks for answers and does not take them.
TEST_P(SslObjectEndTest, AnswersThatNobodyTakesStopTheReader) {
  if (GetParam() == TlsVersion::kTls12) GTEST_SKIP() << "KeyUpdate is of TLS 1.3";
  handshake();
  std::size_t asked = 0;
  Progress progress{};
  std::array<std::byte, 1> one{};
  while (progress.kind != Kind::kWantWrite) {
    ASSERT_LT(++asked, 50'000U);
    SSL* const ssl = client_.tls->native_handle();
    ASSERT_EQ(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    ASSERT_EQ(client_.tls->handshake()->kind, Kind::kDone);
    // Without data it would be cut off.
    if (asked % 20 == 0) {
      ASSERT_TRUE(client_.write("x"));
    }
    move(client_.outgoing, server_.incoming);
    progress = server_.tls->read(one).value();
  }
  EXPECT_GT(server_.outgoing.pending(), SslObject::kOutgoingBytesMax);
  EXPECT_LT(server_.outgoing.pending(), SslObject::kOutgoingBytesMax + 1'000);
  EXPECT_EQ(server_.write("x")->kind, Kind::kWantWrite);
  EXPECT_EQ(server_.tls->shutdown()->kind, Kind::kWantWrite);
  // Taken, it goes on.
  server_.outgoing.consume(server_.outgoing.pending());
  server_.read();
  EXPECT_TRUE(client_.write("at last"));
  move(client_.outgoing, server_.incoming);
  EXPECT_EQ(server_.read(), "at last");
  EXPECT_EQ(server_.write("yes")->kind, Kind::kDone);
}

INSTANTIATE_TEST_SUITE_P(Versions, SslObjectEndTest, test::kTlsVersions, test::version_name);

}  // namespace
}  // namespace heddle
