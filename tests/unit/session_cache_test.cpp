// Sessions that a client's context keeps and offers by itself.
#include <array>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "heddle/tls/session.h"
#include "heddle/tls/ssl_object.h"

#include "support/handshake_outcome.h"
#include "support/session_age.h"
#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"
#include "tls/state/client_cache.h"

namespace heddle {
namespace {

class SessionCacheTest : public testing::TestWithParam<TlsVersion> {
 protected:
  SessionCacheTest() {
    server_.set_versions(TlsVersion::kTls12, TlsVersion::kTls13).value();
    client_.set_versions(GetParam(), GetParam()).value();
    client_.set_session_cache({}).value();
  }

  bool tls13() const { return GetParam() == TlsVersion::kTls13; }

  struct Outcome {
    std::optional<Error> error;
    bool resumed = false;
  };
  Outcome talk(const StreamOptions& options = {.server_name = test::kServerName}) {
    test::HandshakeOutcome both;
    both.server.open(server_, "");
    both.client.tls =
        SslObject::create(client_, both.client.incoming, both.client.outgoing, options).value();
    test::shake_hands(both);
    return {both.client_error, both.client.tls->connection_state().resumed};
  }

  // Begins and offers what there is; nobody answers.
  void begin_and_give_up() {
    test::End client;
    client.open(client_, test::kServerName);
    (void)client.tls->handshake().value();
  }

  test::OwnEntries entries_;
  Context server_ = test::server_context();
  Context client_ = test::client_context();
};

TEST_P(SessionCacheTest, SessionsAreOfferedWithoutAnotherWord) {
  EXPECT_FALSE(talk().resumed);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(talk().resumed) << i;
}

TEST_P(SessionCacheTest, WithoutOneNothingIsKept) {
  Context without = test::client_context();
  std::swap(client_, without);
  (void)talk();
  EXPECT_FALSE(talk().resumed);
}

// Two for each connection, as OpenSSL's servers make them.
TEST_P(SessionCacheTest, SessionOfTls13IsUsedOnce) {
  if (!tls13()) GTEST_SKIP() << "those of TLS 1.2 are used again";
  (void)talk();
  server_.set_num_tickets(0);  // Resuming makes no new ones then, either.
  EXPECT_TRUE(talk().resumed);
  EXPECT_TRUE(talk().resumed);
  EXPECT_FALSE(talk().resumed);
}

TEST_P(SessionCacheTest, SessionOfTls12IsForgottenIfItsHandshakeFails) {
  if (tls13()) GTEST_SKIP() << "those of TLS 1.3 are gone when they are offered";
  (void)talk();
  begin_and_give_up();
  EXPECT_FALSE(talk().resumed);
  EXPECT_TRUE(talk().resumed) << "and the next one is kept";
}

TEST_P(SessionCacheTest, NamesScopesAndVerificationTellServersApart) {
  client_.set_check_hostname(false);
  (void)talk({.server_name = "a.test"});
  EXPECT_FALSE(talk({.server_name = "b.test"}).resumed);
  EXPECT_TRUE(talk({.server_name = "A.test"}).resumed);
  EXPECT_FALSE(talk({.server_name = "a.test", .session_scope = "8443"}).resumed);
  EXPECT_TRUE(talk({.server_name = "a.test", .session_scope = "8443"}).resumed);
  client_.set_security_level(1);
  EXPECT_FALSE(talk({.server_name = "a.test"}).resumed) << "verified otherwise";
}

TEST_P(SessionCacheTest, ServersThatNothingTellsApartAreNotKept) {
  client_.set_check_hostname(false);
  (void)talk({});
  EXPECT_FALSE(talk({}).resumed);
  (void)talk({.session_scope = "192.0.2.1:443"});
  EXPECT_TRUE(talk({.session_scope = "192.0.2.1:443"}).resumed);
}

TEST_P(SessionCacheTest, SessionOfTheProgramsComesFirst) {
  std::vector<Session> got;
  client_.on_new_session([&](const ConnectionView&, const Session& session) {
    got.push_back(session);
    return Result<void>();
  });
  (void)talk();
  ASSERT_FALSE(got.empty()) << "told as well";
  client_.set_session_cache({}).value();  // Empty again.
  EXPECT_TRUE(talk({.server_name = test::kServerName, .session = got.back()}).resumed);
  client_.on_new_session({});
  (void)talk();
  EXPECT_TRUE(talk().resumed) << "still kept";
}

TEST_P(SessionCacheTest, ServerWhoseCertificateHasExpiredGetsAFullHandshake) {
  client_.on_new_session([&](const ConnectionView&, const Session& session) {
    // The certificate is the cache's as well.
    X509* const peer = SSL_SESSION_get0_peer(session.native_handle());
    X509_gmtime_adj(X509_getm_notAfter(peer), -60);
    return Result<void>();
  });
  EXPECT_FALSE(talk().error);
  const Outcome second = talk();
  EXPECT_FALSE(second.error);
  EXPECT_FALSE(second.resumed);
}

TEST_P(SessionCacheTest, VerifyCallbackMayStillWantAFullHandshake) {
  bool refuses = false;
  client_.on_verify([&](const ConnectionView&, const PeerChain& peer) -> Result<int> {
    const bool is_stored = peer.certificates().size() == 1 && refuses;
    refuses = false;
    return is_stored ? X509_V_ERR_APPLICATION_VERIFICATION : peer.verdict();
  });
  (void)talk();
  EXPECT_TRUE(talk().resumed);
  refuses = true;
  const Outcome refused = talk();
  EXPECT_FALSE(refused.resumed);
  EXPECT_FALSE(refused.error);
}

TEST_P(SessionCacheTest, ThreadsShareIt) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 10; ++turn) EXPECT_FALSE(talk().error);
    });
  }
  for (std::thread& each : threads) each.join();
}

INSTANTIATE_TEST_SUITE_P(Versions, SessionCacheTest, test::kTlsVersions, test::version_name);

// The cache by itself.
class ClientCacheTest : public testing::Test {
 protected:
  Session made(TlsVersion version = TlsVersion::kTls13) {
    server_.set_versions(version, version).value();
    test::HandshakeOutcome both;
    test::connect(both, server_, client_);
    return both.client.tls->session().value();
  }

  Context server_ = test::server_context();
  Context client_ = test::client_context();
};

TEST_F(ClientCacheTest, NewestComesFirstAndThereIsALimit) {
  tls::ClientCache cache({.sessions_per_server = 2});
  const std::array sessions = {made(), made(), made()};
  for (const Session& each : sessions) cache.add("a", each);
  EXPECT_EQ(cache.take("a"), sessions[2]);
  EXPECT_EQ(cache.take("a"), sessions[1]);
  EXPECT_EQ(cache.take("a"), std::nullopt);
}

TEST_F(ClientCacheTest, OneOfTls12TakesTheOthersPlaceAndStays) {
  tls::ClientCache cache({});
  cache.add("a", made());
  const Session session = made(TlsVersion::kTls12);
  cache.add("a", session);
  EXPECT_EQ(cache.take("a"), session);
  EXPECT_EQ(cache.take("a"), session);
  cache.remove("a", session);
  EXPECT_EQ(cache.take("a"), std::nullopt);
}

TEST_F(ClientCacheTest, ServerThatWasNotAskedForLongestIsForgotten) {
  tls::ClientCache cache({.servers_max = 2});
  const Session session = made(TlsVersion::kTls12);
  cache.add("a", session);
  cache.add("b", session);
  EXPECT_TRUE(cache.take("a"));
  cache.add("c", session);
  EXPECT_FALSE(cache.take("b"));
  EXPECT_TRUE(cache.take("a"));
  EXPECT_TRUE(cache.take("c"));
  cache.add("a", session);
  cache.add("d", session);
  EXPECT_FALSE(cache.take("c")) << "adding counts, too";
}

TEST_F(ClientCacheTest, WhatHasTimedOutOrCannotBeResumedIsNotOffered) {
  tls::ClientCache cache({});
  const Session session = made(TlsVersion::kTls12);
  const auto set_age = [&](long age) { test::set_age(session.native_handle(), age); };
  set_age(session.timeout().count() + 10);
  cache.add("a", session);
  EXPECT_FALSE(cache.take("a"));
  set_age(0);
  cache.add("a", session);
  EXPECT_TRUE(cache.take("a"));
  set_age(session.ticket_lifetime_hint().count() + 10);
  SSL_SESSION_set_timeout(session.native_handle(), 1000000);
  EXPECT_FALSE(cache.take("a")) << "as the server advised";

  test::HandshakeOutcome both;
  server_.set_versions(TlsVersion::kTls13, TlsVersion::kTls13).value();
  server_.set_num_tickets(0);
  test::connect(both, server_, client_);
  cache.add("a", both.client.tls->session().value());
  EXPECT_FALSE(cache.take("a")) << "there was no ticket";
}

TEST_F(ClientCacheTest, ServerIsForgottenWithAllOfItsSessions) {
  tls::ClientCache cache({});
  cache.add("a", made());
  cache.add("a", made());
  cache.add("b", made());
  cache.remove("a");
  cache.remove("nobody");
  EXPECT_FALSE(cache.take("a"));
  EXPECT_TRUE(cache.take("b"));
}

}  // namespace
}  // namespace heddle
