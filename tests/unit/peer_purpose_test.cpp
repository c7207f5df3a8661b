// What certificates of peers must be for, and the sizes of records.
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>

#include "heddle/tls/make_certificate.h"
#include "heddle/tls/ssl_object.h"

#include "support/handshake_outcome.h"
#include "support/own_entries.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::HandshakeOutcome;

class PeerPurposeTest : public testing::Test {
 protected:
  Identity issue(CertificatePurpose purpose) const {
    return make_certificate({.names = {test::kServerName}, .purpose = purpose}, &authority_)
        .value();
  }
  Context made(Role role, CertificatePurpose shown) const {
    Context context = Context::create(role, Trust::kNothing).value();
    const Identity identity = issue(shown);
    context.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
    context.add_trusted_certificates(test::bytes(authority_.certificate_pem)).value();
    return context;
  }

  // X509_V_OK, or why the client, or the server, has refused the other one.
  static int verdict_of_client(const Context& server, const Context& client) {
    HandshakeOutcome both;
    test::connect(both, server, client);
    return both.client_error ? both.client_error->verify_code : X509_V_OK;
  }
  static int verdict_of_server(const Context& server, const Context& client) {
    HandshakeOutcome both;
    test::connect(both, server, client);
    return both.server_error ? both.server_error->verify_code : X509_V_OK;
  }

  const Identity authority_ =
      make_certificate({.common_name = "CA", .purpose = CertificatePurpose::kAuthority}).value();
  test::OwnEntries entries_;
};

TEST_F(PeerPurposeTest, ServersCertificateIsForServersUnlessToldOtherwise) {
  const Context server = made(Role::kServer, CertificatePurpose::kClient);
  Context client = made(Role::kClient, CertificatePurpose::kClient);
  EXPECT_EQ(client.peer_purpose(), PeerPurpose::kByRole);
  EXPECT_EQ(verdict_of_client(server, client), X509_V_ERR_INVALID_PURPOSE);
  for (const PeerPurpose allowing : {PeerPurpose::kClient, PeerPurpose::kAny}) {
    client.set_peer_purpose(allowing);
    EXPECT_EQ(client.peer_purpose(), allowing);
    EXPECT_EQ(verdict_of_client(server, client), X509_V_OK);
  }
  for (const PeerPurpose refusing : {PeerPurpose::kServer, PeerPurpose::kByRole}) {
    client.set_peer_purpose(refusing);
    EXPECT_EQ(verdict_of_client(server, client), X509_V_ERR_INVALID_PURPOSE);
  }
}

TEST_F(PeerPurposeTest, ClientsCertificateIsForClientsUnlessToldOtherwise) {
  Context server = made(Role::kServer, CertificatePurpose::kServer);
  server.set_verify_mode(VerifyMode::kRequired);
  const Context client = made(Role::kClient, CertificatePurpose::kServer);
  EXPECT_EQ(verdict_of_server(server, client), X509_V_ERR_INVALID_PURPOSE);
  server.set_peer_purpose(PeerPurpose::kServer);
  EXPECT_EQ(verdict_of_server(server, client), X509_V_OK);
  server.set_peer_purpose(PeerPurpose::kByRole);
  EXPECT_EQ(verdict_of_server(server, client), X509_V_ERR_INVALID_PURPOSE);
}

TEST_F(PeerPurposeTest, ContextThatACallbackChoosesHasItsOwn) {
  Context server = made(Role::kServer, CertificatePurpose::kServer);
  server.set_verify_mode(VerifyMode::kRequired);
  Context careless = made(Role::kServer, CertificatePurpose::kServer);
  careless.set_verify_mode(VerifyMode::kRequired);
  careless.set_peer_purpose(PeerPurpose::kAny);
  careless.on_client_hello(
      [&](const ClientHello&) -> Result<HelloAnswer> { return HelloAnswer::use(server); });
  const Context client = made(Role::kClient, CertificatePurpose::kServer);
  EXPECT_EQ(verdict_of_server(careless, client), X509_V_ERR_INVALID_PURPOSE);
}

TEST_F(PeerPurposeTest, SessionsAreOfOnePurpose) {
  const Context server = made(Role::kServer, CertificatePurpose::kClient);
  Context client = made(Role::kClient, CertificatePurpose::kClient);
  client.set_peer_purpose(PeerPurpose::kAny);
  HandshakeOutcome both;
  test::connect(both, server, client);
  const StreamOptions options{.server_name = test::kServerName,
                              .session = both.client.tls->session()};
  MemoryBio incoming;
  MemoryBio outgoing;
  EXPECT_TRUE(SslObject::create(client, incoming, outgoing, options));
  client.set_peer_purpose(PeerPurpose::kServer);
  EXPECT_FALSE(SslObject::create(client, incoming, outgoing, options));
}

class RecordSizeTest : public testing::Test {
 protected:
  // How many bytes the server sends for so much text.
  std::size_t sent(std::size_t text) {
    HandshakeOutcome both;
    test::connect(both, server_, client_);
    EXPECT_TRUE(both.well());
    both.server.write(std::string(text, 'x')).value();
    return both.server.outgoing.pending();
  }

  test::OwnEntries entries_;
  Context server_ = test::server_context();
  Context client_ = test::client_context();
};

TEST_F(RecordSizeTest, PaddedRecordsAllLookAlike) {
  EXPECT_NE(sent(1), sent(100));
  server_.set_record_padding(512).value();
  EXPECT_EQ(sent(1), sent(100));
  EXPECT_GE(sent(1), 512U);
  EXPECT_LT(sent(1), 600U);
  server_.set_record_padding(0).value();
  EXPECT_NE(sent(1), sent(100));
}

TEST_F(RecordSizeTest, PaddingHasALimitAndIsNotTheKernels) {
  EXPECT_EQ(server_.set_record_padding(16385).error().code, Errc::kInvalid);
  server_.set_record_padding(16384).value();
  const auto refused = server_.set_kernel_tls(KernelTls::kAutomatic);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("set_record_padding()"), std::string::npos);
  server_.set_kernel_tls(KernelTls::kOff).value();
  server_.set_record_padding(0).value();
  server_.set_kernel_tls(KernelTls::kAutomatic).value();
  const auto padding = server_.set_record_padding(16);
  ASSERT_FALSE(padding);
  EXPECT_NE(padding.error().message().find("set_kernel_tls()"), std::string::npos);
  EXPECT_TRUE(server_.set_record_padding(0));
}

TEST_F(RecordSizeTest, ServerSendsNoLongerRecordsThanTheClientAsksFor) {
  constexpr std::size_t kText = 2000;
  const std::size_t in_one = sent(kText);
  client_.set_max_fragment_length(512).value();
  const std::size_t in_four = sent(kText);
  EXPECT_GE(in_four, in_one + 3 * 22) << "each has a header, a type and a tag";
  client_.set_max_fragment_length(0).value();
  EXPECT_EQ(sent(kText), in_one);
  EXPECT_EQ(client_.set_max_fragment_length(100).error().code, Errc::kInvalid);
}

}  // namespace
}  // namespace heddle
