// What ties a login to a connection: exported keys and channel bindings. Names of CPython's tests
// stand where the behaviour is theirs.
#include <string>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "support/handshake_outcome.h"
#include "support/ssl_object_pair.h"

namespace heddle {
namespace {

class ChannelBindingTest : public test::SslObjectPair {
 protected:
  bool is_13() const { return GetParam() == TlsVersion::kTls13; }
  std::string of(const test::End& end, ChannelBinding kind) {
    const auto binding = end.tls->channel_binding(kind);
    EXPECT_TRUE(binding) << binding.error().message();
    return binding ? *binding : "";
  }
  // Both ends have the same, of `bytes`, and another connection has another.
  void expect_unique(ChannelBinding kind, std::size_t bytes) {
    handshake();
    const std::string first = of(client_, kind);
    EXPECT_EQ(first.size(), bytes);
    EXPECT_EQ(of(server_, kind), first);
    open();
    client_.incoming = MemoryBio();
    server_.incoming = MemoryBio();
    handshake();
    EXPECT_EQ(of(client_, kind), of(server_, kind));
    EXPECT_NE(of(client_, kind), first);
  }
};

TEST_P(ChannelBindingTest, ExportedKeysAreTheSameOnBothEnds) {
  handshake();
  const auto from = [](const test::End& end, std::string_view label,
                       std::optional<std::string_view> context) {
    return end.tls->export_keying_material(label, 40, context).value();
  };
  const std::string material = from(client_, "EXPORTER-test", std::nullopt);
  EXPECT_EQ(material.size(), 40U);
  EXPECT_EQ(from(server_, "EXPORTER-test", std::nullopt), material);
  EXPECT_NE(from(client_, "EXPORTER-other", std::nullopt), material);
  EXPECT_NE(from(client_, "EXPORTER-test", "context"), material);
  EXPECT_EQ(from(client_, "EXPORTER-test", "context"), from(server_, "EXPORTER-test", "context"));
  EXPECT_EQ(from(client_, "EXPORTER-test", "") == material, is_13());
}

TEST_P(ChannelBindingTest, WhatCannotBeExportedIsInvalid) {
  EXPECT_EQ(client_.tls->export_keying_material("EXPORTER-test", 32).error().code, Errc::kInvalid)
      << "before the handshake is done";
  handshake();
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1} << 30}) {
    EXPECT_EQ(client_.tls->export_keying_material("EXPORTER-test", bytes).error().code,
              Errc::kInvalid);
  }
  if (!is_13()) {
    EXPECT_EQ(client_.tls->export_keying_material("master secret", 32).error().code,
              Errc::kInvalid);
  }
}

// BasicSocketTests.test_tls_unique_channel_binding.
TEST_P(ChannelBindingTest, ThereIsNoneBeforeTheHandshake) {
  for (const auto kind : {ChannelBinding::kTlsUnique, ChannelBinding::kTlsServerEndPoint,
                          ChannelBinding::kTlsExporter}) {
    EXPECT_EQ(client_.tls->channel_binding(kind).error().code, Errc::kInvalid);
  }
}

// ThreadedTests.test_tls_unique_channel_binding.
TEST_P(ChannelBindingTest, TlsUnique) {
  if (is_13()) {
    handshake();
    EXPECT_EQ(client_.tls->channel_binding(ChannelBinding::kTlsUnique).error().code,
              Errc::kInvalid);
    return;
  }
  expect_unique(ChannelBinding::kTlsUnique, 12);
}

// The server's Finished is the first then.
TEST_P(ChannelBindingTest, TlsUniqueOfAResumedSession) {
  if (is_13()) GTEST_SKIP() << "TLS 1.3 has none";
  handshake();
  const Session session(SSL_get_session(client_.tls->native_handle()));
  test::HandshakeOutcome again;
  again.server.open(server_context_, "");
  again.client.tls =
      SslObject::create(client_context_, again.client.incoming, again.client.outgoing,
                        {.server_name = test::kServerName, .session = session})
          .value();
  test::shake_hands(again);
  ASSERT_TRUE(again.client.tls->connection_state().resumed);
  EXPECT_EQ(of(again.client, ChannelBinding::kTlsUnique).size(), 12U);
  EXPECT_EQ(of(again.client, ChannelBinding::kTlsUnique),
            of(again.server, ChannelBinding::kTlsUnique));
  for (const test::End* const end : {&again.client, &again.server}) {
    EXPECT_EQ(end->tls->channel_binding(ChannelBinding::kTlsServerEndPoint).error().code,
              Errc::kInvalid)
        << "the server does not know what it once showed";
  }
}

TEST_P(ChannelBindingTest, TlsExporter) {
  expect_unique(ChannelBinding::kTlsExporter, 32);
}

TEST_P(ChannelBindingTest, TlsExporterNeedsBothToKnowTheExtendedMasterSecret) {
  if (is_13()) GTEST_SKIP() << "TLS 1.3 always has it";
  SSL_set_options(client_.tls->native_handle(), SSL_OP_NO_EXTENDED_MASTER_SECRET);
  handshake();
  EXPECT_EQ(client_.tls->channel_binding(ChannelBinding::kTlsExporter).error().code,
            Errc::kInvalid);
}

TEST_P(ChannelBindingTest, TlsServerEndPoint) {
  handshake();
  EXPECT_EQ(client_.tls->channel_binding(ChannelBinding::kTlsServerEndPoint).error().code,
            Errc::kInvalid)
      << "Ed25519 has no digest";
  const Identity& identity = test::identity(KeyType::kEcdsaP256);
  server_context_.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
  client_context_.add_trusted_certificates(test::bytes(identity.certificate_pem)).value();
  client_context_.set_signature_algorithms("ECDSA+SHA256").value();
  open();
  client_.incoming = MemoryBio();
  server_.incoming = MemoryBio();
  handshake();
  EXPECT_EQ(of(client_, ChannelBinding::kTlsServerEndPoint).size(), 32U);
  EXPECT_EQ(of(client_, ChannelBinding::kTlsServerEndPoint),
            of(server_, ChannelBinding::kTlsServerEndPoint));
}

INSTANTIATE_TEST_SUITE_P(, ChannelBindingTest, test::kTlsVersions, test::version_name);

}  // namespace
}  // namespace heddle
