// What contexts are told to negotiate, and what comes of it. Names of CPython's tests stand where
// the behaviour is theirs.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "heddle/tls/context.h"
#include "heddle/tls/ssl_object.h"

#include "openssl/handles.h"
#include "support/handshake_outcome.h"
#include "support/own_entries.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::connect;
using test::HandshakeOutcome;

class NegotiationTest : public testing::Test {
 protected:
  void only(TlsVersion version) {
    server_.set_versions(version, version).value();
    client_.set_versions(version, version).value();
  }

  ConnectionState agreed() {
    HandshakeOutcome outcome;
    connect(outcome, server_, client_);
    EXPECT_TRUE(outcome.well()) << (outcome.client_error ? outcome.client_error->message() : "")
                                << (outcome.server_error ? outcome.server_error->message() : "");
    return outcome.client.tls->connection_state();
  }

  // Both ends fail.
  void expect_none() {
    HandshakeOutcome outcome;
    connect(outcome, server_, client_);
    ASSERT_TRUE(outcome.client_error);
    ASSERT_TRUE(outcome.server_error);
    EXPECT_EQ(outcome.client_error->code, Errc::kProtocol);
    EXPECT_EQ(outcome.server_error->code, Errc::kProtocol);
    EXPECT_EQ(outcome.client.tls->connection_state().cipher, "");
    EXPECT_EQ(outcome.client.tls->connection_state().group, "");
  }

  test::OwnEntries entries_;
  Context server_ = test::server_context(KeyType::kEcdsaP256);
  Context client_ = test::client_context(KeyType::kEcdsaP256);
};

bool has(const std::vector<CipherInfo>& all, std::string_view name) {
  return std::any_of(all.begin(), all.end(), [&](const auto& each) { return each.name == name; });
}

// ContextTests.test_get_ciphers, test_python_ciphers.
TEST_F(NegotiationTest, CiphersAreListedWithTheirNumbers) {
  const auto all = client_.ciphers();
  ASSERT_TRUE(has(all, "TLS_AES_128_GCM_SHA256"));
  const auto suite = std::find_if(all.begin(), all.end(), [](const auto& each) {
    return each.name == "ECDHE-RSA-AES128-GCM-SHA256";
  });
  ASSERT_NE(suite, all.end());
  EXPECT_EQ(suite->standard_name, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
  EXPECT_EQ(suite->version, "TLSv1.2");
  EXPECT_EQ(suite->id, 0xc02f);
  EXPECT_EQ(suite->strength_bits, 128);
  for (const auto& each : all) {
    for (const char* const weak : {"PSK", "SRP", "MD5", "RC4", "3DES"}) {
      EXPECT_EQ(each.name.find(weak), std::string::npos) << each.name;
    }
  }
  client_.set_versions(TlsVersion::kTls13, TlsVersion::kTls13).value();
  EXPECT_FALSE(has(client_.ciphers(), "ECDHE-RSA-AES128-GCM-SHA256"));
}

// ContextTests.test_min_max_version.
TEST_F(NegotiationTest, VersionsCanBeReadBack) {
  EXPECT_EQ(client_.oldest_version(), TlsVersion::kTls12);
  EXPECT_EQ(client_.newest_version(), TlsVersion::kTls13);
  only(TlsVersion::kTls12);
  EXPECT_EQ(client_.newest_version(), TlsVersion::kTls12);
  only(TlsVersion::kTls13);
  EXPECT_EQ(client_.oldest_version(), TlsVersion::kTls13);
}

// SimpleBackgroundTestsTLS_1_3.test_ciphersuite_downgrade.
TEST_F(NegotiationTest, SuitesOfTls13DoNotHinderTls12) {
  client_.set_ciphersuites("TLS_CHACHA20_POLY1305_SHA256").value();
  EXPECT_EQ(agreed().cipher, "TLS_CHACHA20_POLY1305_SHA256");
  server_.set_versions(TlsVersion::kTls12, TlsVersion::kTls12).value();
  EXPECT_EQ(agreed().version, "TLSv1.2");
}

// SimpleBackgroundTestsTLS_1_3.test_ciphersuite_mismatch, ThreadedTests.test_no_shared_ciphers.
TEST_F(NegotiationTest, NoCipherInCommonIsAFailureOfBoth) {
  client_.set_ciphersuites("TLS_AES_128_GCM_SHA256").value();
  server_.set_ciphersuites("TLS_AES_256_GCM_SHA384").value();
  only(TlsVersion::kTls13);
  expect_none();
  only(TlsVersion::kTls12);
  client_.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256").value();
  server_.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384").value();
  HandshakeOutcome outcome;
  connect(outcome, server_, client_);
  ASSERT_TRUE(outcome.server_error);
  EXPECT_EQ(ERR_GET_REASON(outcome.server_error->openssl_code), SSL_R_NO_SHARED_CIPHER);
  EXPECT_TRUE(outcome.client_error);
}

// ThreadedTests.test_shared_ciphers.
TEST_F(NegotiationTest, ServerSeesTheCiphersThatBothHave) {
  client_.set_ciphersuites("TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384").value();
  server_.set_ciphersuites("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256").value();
  only(TlsVersion::kTls13);
  HandshakeOutcome outcome;
  outcome.server.open(server_, "");
  EXPECT_TRUE(outcome.server.tls->shared_ciphers().empty());
  connect(outcome, server_, client_);
  EXPECT_EQ(outcome.server.tls->shared_ciphers(),
            std::vector<std::string>{"TLS_AES_128_GCM_SHA256"});
  EXPECT_TRUE(outcome.client.tls->shared_ciphers().empty());
}

// ContextTests.test_set_groups, ThreadedTests.test_groups, test_ecdh_curve.
TEST_F(NegotiationTest, GroupsOfEitherSideDecide) {
  server_.set_groups("P-384").value();
  EXPECT_EQ(agreed().group, "secp384r1");
  server_.set_groups("X25519:P-256:P-384").value();
  client_.set_groups("P-256").value();
  EXPECT_NE(agreed().group.find("256"), std::string::npos) << "prime256v1 or secp256r1";
  server_.set_groups("P-384").value();
  for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
    only(version);
    expect_none();
  }
}

TEST_F(NegotiationTest, GroupThatIsNotThereMayBeLeftOut) {
  EXPECT_FALSE(client_.set_groups("no-such-group:P-384"));
  ASSERT_TRUE(client_.set_groups("?no-such-group:P-384:?nor-this"));
  EXPECT_EQ(agreed().group, "secp384r1");
}

// ContextTests.test_set_server_sigalgs, ThreadedTests.test_server_sigalgs.
TEST_F(NegotiationTest, SignatureAlgorithmsOfEitherSideDecide) {
  server_ = test::server_context(KeyType::kRsa2048);
  client_ = test::client_context(KeyType::kRsa2048);
  client_.set_signature_algorithms("rsa_pss_rsae_sha512").value();
  EXPECT_EQ(agreed().signature_algorithm, "RSA-PSS+SHA512");
  client_.set_signature_algorithms("rsa_pss_rsae_sha512:rsa_pss_rsae_sha256").value();
  server_.set_signature_algorithms("rsa_pss_rsae_sha256").value();
  EXPECT_EQ(agreed().signature_algorithm, "RSA-PSS+SHA256");
  EXPECT_FALSE(client_.set_signature_algorithms("no-such-algorithm"));
  EXPECT_EQ(agreed().signature_algorithm, "RSA-PSS+SHA256");
}

// ThreadedTests.test_server_sigalgs_mismatch.
TEST_F(NegotiationTest, NoSignatureAlgorithmInCommonIsAFailureOfBoth) {
  only(TlsVersion::kTls13);
  server_.set_signature_algorithms("ECDSA+SHA256").value();
  client_.set_signature_algorithms("ed25519").value();
  expect_none();
}

// ContextTests.test_set_client_sigalgs, ThreadedTests.test_client_sigalgs and its mismatch.
TEST_F(NegotiationTest, ClientsSignatureFollowsWhatTheServerAsksFor) {
  const Identity& client = test::identity(KeyType::kRsa2048);
  client_.use_cert_chain(client.certificate_pem, client.key_pem).value();
  server_.add_trusted_certificates(test::bytes(client.certificate_pem)).value();
  server_.set_verify_mode(VerifyMode::kRequired);
  server_.set_client_signature_algorithms("rsa_pss_rsae_sha512").value();
  EXPECT_FALSE(server_.set_client_signature_algorithms("no-such-algorithm"));
  HandshakeOutcome outcome;
  connect(outcome, server_, client_);
  ASSERT_TRUE(outcome.well());
  EXPECT_EQ(outcome.server.tls->connection_state().signature_algorithm, "RSA-PSS+SHA512");
  server_.set_client_signature_algorithms("ed25519").value();
  HandshakeOutcome none;
  connect(none, server_, client_);
  EXPECT_FALSE(none.well());
}

std::string dh_parameters() {
  const openssl::KeyContextPtr maker(EVP_PKEY_CTX_new_from_name(nullptr, "DH", nullptr));
  EVP_PKEY* made = nullptr;
  EVP_PKEY_paramgen_init(maker.get());
  std::string group = "ffdhe2048";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string("group", group.data(), 0),
                                   OSSL_PARAM_construct_end()};
  EVP_PKEY_CTX_set_params(maker.get(), parameters);
  EVP_PKEY_generate(maker.get(), &made);
  const openssl::KeyPtr owned(made);
  const openssl::BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_Parameters(bio.get(), made);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

// ContextTests.test_load_dh_params, ThreadedTests.test_dh_params.
TEST_F(NegotiationTest, FiniteFieldsOfTheServersOwn) {
  server_ = test::server_context(KeyType::kRsa2048);
  client_ = test::client_context(KeyType::kRsa2048);
  only(TlsVersion::kTls12);
  for (const char* const bad : {"", "text", "-----BEGIN DH PARAMETERS-----\nAAAA\n"}) {
    EXPECT_EQ(server_.set_dh_parameters(bad).error().code, Errc::kInvalid);
  }
  server_.set_ciphers("DHE-RSA-AES128-GCM-SHA256").value();
  client_.set_ciphers("DHE-RSA-AES128-GCM-SHA256").value();
  ASSERT_TRUE(server_.set_dh_parameters(dh_parameters()));
  EXPECT_EQ(agreed().cipher, "DHE-RSA-AES128-GCM-SHA256");
}

TEST_F(NegotiationTest, ProfilesAreMozillas) {
  ASSERT_TRUE(server_.use_profile(Profile::kModern));
  EXPECT_EQ(agreed().version, "TLSv1.3");
  client_.set_versions(TlsVersion::kTls12, TlsVersion::kTls12).value();
  expect_none();
  ASSERT_TRUE(server_.use_profile(Profile::kIntermediate));
  EXPECT_EQ(agreed().version, "TLSv1.2");
  EXPECT_FALSE(has(server_.ciphers(), "DHE-RSA-AES128-GCM-SHA256"));
  // The client prefers.
  client_.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256").value();
  EXPECT_EQ(agreed().cipher, "ECDHE-ECDSA-CHACHA20-POLY1305");
}

// ContextTests.test_options and what else has no call.
TEST_F(NegotiationTest, CommandsOfOpenSslsConfiguration) {
  ASSERT_TRUE(server_.configure("Options", "-SessionTicket"));
  EXPECT_NE(SSL_CTX_get_options(server_.native_handle()) & SSL_OP_NO_TICKET, 0U);
  ASSERT_TRUE(server_.configure("Options", "SessionTicket"));
  EXPECT_EQ(SSL_CTX_get_options(server_.native_handle()) & SSL_OP_NO_TICKET, 0U);
  ASSERT_TRUE(server_.configure("MaxProtocol", "TLSv1.2"));
  EXPECT_EQ(agreed().version, "TLSv1.2");
  const auto unknown = server_.configure("NoSuchCommand", "1");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::kInvalid);
  EXPECT_EQ(server_.configure("MaxProtocol", "TLSv7").error().code, Errc::kInvalid);
  EXPECT_EQ(client_.configure("DHParameters", "x.pem").error().code, Errc::kInvalid)
      << "a server's";
  EXPECT_EQ(server_.configure("Certificate", "x.pem").error().code, Errc::kInvalid)
      << "use_cert_chain() checks more";
}

// ThreadedTests.test_selected_alpn_protocol, test_selected_alpn_protocol_if_server_uses_alpn.
TEST_F(NegotiationTest, NobodyGetsAProtocolThatWasNotOffered) {
  EXPECT_EQ(agreed().alpn, "");
  const std::array<std::string_view, 1> protocols = {"h2"};
  server_.set_alpn_protocols(protocols).value();
  EXPECT_EQ(agreed().alpn, "");
  client_.set_alpn_protocols(protocols).value();
  EXPECT_EQ(agreed().alpn, "h2");
}

// ThreadedTests.test_legacy_server_connect, test_no_legacy_server_connect.
TEST_F(NegotiationTest, ServersWithoutSecureRenegotiationMayBeAllowed) {
  const auto is_allowed = [&] {
    return (SSL_CTX_get_options(client_.native_handle()) & SSL_OP_LEGACY_SERVER_CONNECT) != 0;
  };
  only(TlsVersion::kTls12);
  EXPECT_FALSE(is_allowed());
  EXPECT_TRUE(agreed().complete);
  ASSERT_TRUE(client_.configure("Options", "UnsafeLegacyServerConnect"));
  EXPECT_TRUE(is_allowed());
  EXPECT_TRUE(agreed().complete);
}

// ContextTests.test_security_level.
TEST_F(NegotiationTest, SecurityLevelCanBeSetAndRead) {
  EXPECT_EQ(client_.security_level(), 2);
  client_.set_security_level(5);
  EXPECT_EQ(client_.security_level(), 5);
  HandshakeOutcome outcome;
  connect(outcome, server_, client_);
  EXPECT_FALSE(outcome.well()) << "P-256 is too weak for it";
}

// ContextTests.test_num_tickest.
TEST_F(NegotiationTest, NumberOfTicketsCanBeRead) {
  EXPECT_EQ(server_.num_tickets(), 2U);
  server_.set_num_tickets(0);
  EXPECT_EQ(server_.num_tickets(), 0U);
}

// ContextTests.test_session_stats, ThreadedTests.test_session.
TEST_F(NegotiationTest, HandshakesAreCounted) {
  EXPECT_EQ(server_.session_statistics().accepts, 0U);
  EXPECT_EQ(server_.session_statistics().resumed, 0U);
  only(TlsVersion::kTls12);
  HandshakeOutcome first;
  connect(first, server_, client_);
  ASSERT_TRUE(first.well());
  const Session session(SSL_get_session(first.client.tls->native_handle()));
  HandshakeOutcome second;
  second.server.open(server_, "");
  second.client.tls = SslObject::create(client_, second.client.incoming, second.client.outgoing,
                                        {.server_name = test::kServerName, .session = session})
                          .value();
  test::shake_hands(second);
  EXPECT_TRUE(second.client.tls->connection_state().resumed);
  EXPECT_EQ(server_.session_statistics().accepts_done, 2U);
  EXPECT_EQ(server_.session_statistics().resumed, 1U);
  EXPECT_EQ(client_.session_statistics().connects_done, 2U);
}

// TestSSLDebug.test_msg_callback_tls12.
TEST_F(NegotiationTest, MessagesAreSeenInBothDirections) {
  only(TlsVersion::kTls12);
  struct Seen {
    bool sent;
    int first_byte;
  };
  std::vector<Seen> seen;
  client_.on_message([&](const ConnectionView& connection, const TlsMessage& message) {
    EXPECT_EQ(connection.server_name(), test::kServerName);
    constexpr int kHandshake = 22;
    if (message.content_type == kHandshake && message.version == TLS1_2_VERSION) {
      seen.push_back({message.sent, std::to_integer<int>(message.bytes.front())});
    }
    return Result<void>();
  });
  (void)agreed();
  const auto has_seen = [&](bool sent, int type) {
    return std::any_of(seen.begin(), seen.end(), [&](const Seen& each) {
      return each.sent == sent && each.first_byte == type;
    });
  };
  EXPECT_TRUE(has_seen(true, SSL3_MT_CLIENT_HELLO));
  EXPECT_TRUE(has_seen(false, SSL3_MT_SERVER_HELLO));
  EXPECT_TRUE(has_seen(false, SSL3_MT_CERTIFICATE));
  EXPECT_TRUE(has_seen(true, SSL3_MT_FINISHED));
  seen.clear();
  client_.on_message({});
  (void)agreed();
  EXPECT_TRUE(seen.empty());
}

// TestSSLDebug.test_msg_callback_exception.
TEST_F(NegotiationTest, WhatTheMessageCallbackThrowsComesOutOfTheHandshake) {
  client_.on_message([](const ConnectionView&, const TlsMessage&) -> Result<void> {
    throw std::runtime_error("no");
  });
  test::End client;
  client.open(client_, test::kServerName);
  EXPECT_THROW((void)client.tls->handshake(), std::runtime_error);
}

TEST_F(NegotiationTest, ErrorOfTheMessageCallbackEndsTheHandshake) {
  client_.on_message([](const ConnectionView&, const TlsMessage&) -> Result<void> {
    return Error{.code = Errc::kCancelled, .operation = "look at a message"};
  });
  test::End client;
  client.open(client_, test::kServerName);
  EXPECT_STREQ(client.tls->handshake().error().operation, "look at a message");
}

// TestSSLDebug.test_msg_callback_deadlock_bpo43577.
TEST_F(NegotiationTest, MessagesOfAConnectionWhoseContextWasExchanged) {
  const Context other = test::server_context(KeyType::kEcdsaP256);
  int messages = 0;
  server_.on_message([&](const ConnectionView&, const TlsMessage&) {
    ++messages;
    return Result<void>();
  });
  server_.on_server_name([&](const ClientHello&) { return HelloAnswer::use(other); });
  EXPECT_TRUE(agreed().complete);
  EXPECT_GT(messages, 0);
}

}  // namespace
}  // namespace heddle
