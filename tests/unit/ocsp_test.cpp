// OCSP responses that servers staple, and what clients make of them.
#include "heddle/tls/ocsp.h"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ocsp.h>
#include <openssl/x509_vfy.h>

#include "heddle/error_queue.h"

#include "openssl/handles.h"
#include "support/chain.h"
#include "support/handshake_outcome.h"
#include "support/ocsp.h"
#include "support/own_entries.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::HandshakeOutcome;
using test::Issued;
using test::OcspAnswer;

class OcspTest : public testing::TestWithParam<TlsVersion> {
 protected:
  OcspTest() {
    test::show(server_, leaf_, {});
    server_.set_versions(GetParam(), GetParam()).value();
    test::trust(client_, root_);
    server_.on_ocsp_request([this](const ConnectionView&) { return response_; });
  }

  std::string answer(const OcspAnswer& wanted) { return test::ocsp_response(leaf_, root_, wanted); }

  // What the client says.
  std::optional<Error> talk() {
    HandshakeOutcome both;
    test::connect(both, server_, client_);
    return both.client_error;
  }

  void expect_refused(int code) {
    for (const OcspCheck check : {OcspCheck::kIfStapled, OcspCheck::kRequired}) {
      client_.set_ocsp_check(check).value();
      const auto error = talk();
      ASSERT_TRUE(error);
      EXPECT_EQ(error->code, Errc::kUntrusted) << error->message();
      EXPECT_EQ(error->verify_code, code) << error->message();
      EXPECT_EQ(error->verify_depth, 0);
      EXPECT_STREQ(alert_name(error->alert), "bad_certificate_status_response");
    }
  }

  const Issued root_ = test::issue({.common_name = "Root", .is_ca = true});
  const Issued leaf_ = test::issue({.common_name = "leaf"}, &root_);
  Context server_ = Context::create(Role::kServer).value();
  Context client_ = Context::create(Role::kClient, Trust::kNothing).value();
  std::optional<std::string> response_;
  test::OwnEntries entries_;
};

TEST_P(OcspTest, GoodResponseIsGoodEnough) {
  for (const bool is_sha256 : {false, true}) {
    response_ = answer({.is_sha256 = is_sha256});
    client_.set_ocsp_check(OcspCheck::kRequired).value();
    EXPECT_FALSE(talk()) << is_sha256;
  }
  response_ = answer({.has_end = false});
  EXPECT_FALSE(talk()) << "one that never ends";
}

TEST_P(OcspTest, ClocksMayDifferByMinutes) {
  client_.set_ocsp_check(OcspCheck::kRequired).value();
  response_ = answer({.from_seconds = 200});
  EXPECT_FALSE(talk());
  response_ = answer({.from_seconds = -3600, .until_seconds = -200});
  EXPECT_FALSE(talk());
}

TEST_P(OcspTest, IssuerMayBeAnIntermediateCaOrNameAResponder) {
  const Issued inter = test::issue({.common_name = "Inter", .is_ca = true}, &root_);
  const Issued leaf = test::issue({.common_name = "leaf"}, &inter);
  const Issued responder =
      test::issue({.common_name = "responder", .extended_key_usage = "OCSPSigning"}, &inter);
  const Issued of_root =
      test::issue({.common_name = "responder", .extended_key_usage = "OCSPSigning"}, &root_);
  {
    // Where there is another key already, SSL_CTX_use_certificate(3) clears the queue.
    const ErrorQueueScope scope(Leftovers::kDrop);
    test::show(server_, leaf, {&inter});
  }
  client_.set_ocsp_check(OcspCheck::kRequired).value();
  response_ = test::ocsp_response(leaf, inter);
  EXPECT_FALSE(talk());
  response_ = test::ocsp_response(leaf, inter, {.signer = &responder});
  EXPECT_FALSE(talk());
  response_ = test::ocsp_response(leaf, inter, {.signer = &of_root});
  EXPECT_TRUE(talk()) << "of another issuer's";
}

// It may be an anchor of its own (X509_V_FLAG_PARTIAL_CHAIN).
TEST_P(OcspTest, CertificateThatIsTrustedWithoutItsIssuerCannotSpeakForItself) {
  client_ = Context::create(Role::kClient, Trust::kNothing).value();
  test::trust(client_, leaf_);
  response_ = test::ocsp_response(leaf_, leaf_);
  EXPECT_FALSE(talk());
  expect_refused(X509_V_ERR_OCSP_VERIFY_FAILED);
}

TEST_P(OcspTest, MissingResponseIsAFailureWhereOneIsRequired) {
  client_.set_ocsp_check(OcspCheck::kIfStapled).value();
  EXPECT_EQ(client_.ocsp_check(), OcspCheck::kIfStapled);
  EXPECT_FALSE(talk());
  client_.set_ocsp_check(OcspCheck::kRequired).value();
  const auto error = talk();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->verify_code, X509_V_ERR_OCSP_VERIFY_NEEDED);
  client_.set_ocsp_check(OcspCheck::kNone).value();
  EXPECT_FALSE(talk());
}

TEST_P(OcspTest, RevokedCertificateIsRefused) {
  response_ = answer({.status = V_OCSP_CERTSTATUS_REVOKED});
  EXPECT_FALSE(talk()) << "nobody asks";
  expect_refused(X509_V_ERR_CERT_REVOKED);
}

TEST_P(OcspTest, CertificateThatTheResponderDoesNotKnowIsRefused) {
  response_ = answer({.status = V_OCSP_CERTSTATUS_UNKNOWN});
  expect_refused(X509_V_ERR_OCSP_CERT_UNKNOWN);
}

TEST_P(OcspTest, WhatProvesNothingIsRefused) {
  const Issued other = test::issue({.common_name = "leaf"}, &root_);
  const Issued stranger = test::issue({.common_name = "Root", .is_ca = true});
  const std::vector<std::string> responses = {
      answer({.from_seconds = -7200, .until_seconds = -3600}),
      answer({.from_seconds = 3600, .until_seconds = 7200}),
      answer({.signer = &stranger}),  // Of the same name.
      answer({.signer = &leaf_}),     // It speaks for itself.
      answer({.signer = &other}),     // The issuer has not named it as a responder.
      test::ocsp_response(leaf_, stranger),
      test::ocsp_try_later(),
  };
  for (const std::string& each : responses) {
    SCOPED_TRACE(&each - responses.data());
    response_ = each;
    expect_refused(X509_V_ERR_OCSP_VERIFY_FAILED);
  }
}

// From 3.6 on a server of OpenSSL's keeps it to itself.
TEST_P(OcspTest, ResponseAboutAnotherCertificateProvesNothing) {
  const Issued other = test::issue({.common_name = "leaf"}, &root_);
  response_ = test::ocsp_response(other, root_);
  client_.set_ocsp_check(OcspCheck::kRequired).value();
  const auto error = talk();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Errc::kUntrusted) << error->message();
  const bool is_shown = OPENSSL_VERSION_NUMBER < 0x30600000L;
  EXPECT_EQ(error->verify_code,
            is_shown ? X509_V_ERR_OCSP_VERIFY_FAILED : X509_V_ERR_OCSP_VERIFY_NEEDED);
}

TEST_P(OcspTest, CallbackIsAskedAfterTheCheckAndBothMustAgree) {
  int asked = 0;
  bool agrees = true;
  client_.on_ocsp_response([&](const ConnectionView&, std::string_view) {
    ++asked;
    return agrees;
  });
  client_.set_ocsp_check(OcspCheck::kRequired).value();
  response_ = answer({});
  EXPECT_FALSE(talk());
  agrees = false;
  EXPECT_TRUE(talk());
  EXPECT_EQ(asked, 2);
  response_ = answer({.status = V_OCSP_CERTSTATUS_REVOKED});
  agrees = true;
  EXPECT_TRUE(talk());
  EXPECT_EQ(asked, 2);
  client_.on_ocsp_response({});
  EXPECT_TRUE(talk()) << "the check stays";
}

TEST_P(OcspTest, SessionsAreOfOneCheck) {
  HandshakeOutcome both;
  test::connect(both, server_, client_);
  const StreamOptions options{.server_name = test::kServerName,
                              .session = both.client.tls->session()};
  MemoryBio incoming;
  MemoryBio outgoing;
  EXPECT_TRUE(SslObject::create(client_, incoming, outgoing, options));
  client_.set_ocsp_check(OcspCheck::kRequired).value();
  EXPECT_FALSE(SslObject::create(client_, incoming, outgoing, options));
}

TEST_P(OcspTest, ProgramsGetTheWholeStatus) {
  OcspStatus status;
  client_.on_ocsp_response([&](const ConnectionView& connection, std::string_view der) {
    status = ocsp_status(connection, der);
    return true;
  });
  response_ =
      answer({.status = V_OCSP_CERTSTATUS_REVOKED, .reason = OCSP_REVOKED_STATUS_KEYCOMPROMISE});
  EXPECT_FALSE(talk());
  EXPECT_EQ(status.verdict, OcspVerdict::kRevoked);
  EXPECT_EQ(status.reason, "keyCompromise");
  ASSERT_TRUE(status.revoked_at);
  EXPECT_EQ(*status.revoked_at, status.this_update);
  ASSERT_TRUE(status.next_update);
  EXPECT_EQ(*status.next_update - status.this_update, std::chrono::seconds(3660));
  response_ = std::nullopt;
  EXPECT_FALSE(talk());
  EXPECT_EQ(status.verdict, OcspVerdict::kMissing);
}

TEST_P(OcspTest, WithoutAVerifiedChainThereIsNothingToJudgeBy) {
  OcspStatus status;
  client_.on_ocsp_response([&](const ConnectionView& connection, std::string_view der) {
    status = ocsp_status(connection, der);
    return true;
  });
  client_.set_verify_mode(VerifyMode::kNone);
  client_.set_check_hostname(false);
  response_ = answer({});
  EXPECT_FALSE(talk());
  EXPECT_EQ(status.verdict, OcspVerdict::kUnusable);
}

INSTANTIATE_TEST_SUITE_P(Versions, OcspTest, test::kTlsVersions, test::version_name);

TEST(OcspCheckTest, NotWhereSessionsDoNotSayWhatWasVerified) {
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
  Context adopted = Context::adopt(Role::kClient, ctx.get()).value();
  EXPECT_EQ(adopted.set_ocsp_check(OcspCheck::kRequired).error().code, Errc::kInvalid);
}

}  // namespace
}  // namespace heddle
