// What `heddle connect` advises.
#include <string>

#include <gtest/gtest.h>
#include <openssl/x509_vfy.h>

#include "cli/peer_report.h"

namespace heddle::cli {
namespace {

std::string advice_on(int verify_code, Peer peer = Peer::kServer) {
  const Error error = {.code = Errc::kUntrusted,
                       .verify_code = static_cast<std::int16_t>(verify_code)};
  return std::string(advice_on_handshake(error, peer));
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Those of check_extensions() in OpenSSL's x509_vfy.c that depend on X509_V_FLAG_X509_STRICT.
TEST(AdviceTest, CertificateThatBreaksRfc5280IsToBeIssuedAnewOrVerifiedLessStrictly) {
  for (const int code :
       {X509_V_ERR_SIGNATURE_ALGORITHM_INCONSISTENCY, X509_V_ERR_PATHLEN_INVALID_FOR_NON_CA,
        X509_V_ERR_PATHLEN_WITHOUT_KU_KEY_CERT_SIGN, X509_V_ERR_KU_KEY_CERT_SIGN_INVALID_FOR_NON_CA,
        X509_V_ERR_ISSUER_NAME_EMPTY, X509_V_ERR_SUBJECT_NAME_EMPTY,
        X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER, X509_V_ERR_MISSING_SUBJECT_KEY_IDENTIFIER,
        X509_V_ERR_EMPTY_SUBJECT_ALT_NAME, X509_V_ERR_EMPTY_SUBJECT_SAN_NOT_CRITICAL,
        X509_V_ERR_CA_BCONS_NOT_CRITICAL, X509_V_ERR_AUTHORITY_KEY_IDENTIFIER_CRITICAL,
        X509_V_ERR_SUBJECT_KEY_IDENTIFIER_CRITICAL, X509_V_ERR_CA_CERT_MISSING_KEY_USAGE,
        X509_V_ERR_EXTENSIONS_REQUIRE_VERSION_3, X509_V_ERR_EC_KEY_EXPLICIT_PARAMS}) {
    for (const Peer peer : {Peer::kServer, Peer::kProxy}) {
      const std::string advice = advice_on(code, peer);
      EXPECT_TRUE(contains(advice, "issued anew")) << code << advice;
      EXPECT_TRUE(contains(advice, "--no-strict")) << code << advice;
    }
  }
  for (const int code : {X509_V_ERR_INVALID_CA, X509_V_ERR_CERT_REVOKED,
                         X509_V_ERR_EE_KEY_TOO_SMALL, X509_V_ERR_SIGNATURE_ALGORITHM_MISMATCH}) {
    EXPECT_FALSE(contains(advice_on(code), "--no-strict")) << code;
  }
}

TEST(AdviceTest, NobodyIsToldToGoUnverified) {
  for (int code = 1; code < 200; ++code) {
    EXPECT_FALSE(contains(advice_on(code), "--insecure")) << code;
  }
}

TEST(AdviceTest, ProxysCertificateHasOptionsOfItsOwn) {
  const int unknown = X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY;
  EXPECT_TRUE(contains(advice_on(unknown), "pass --cafile"));
  EXPECT_TRUE(contains(advice_on(unknown, Peer::kProxy), "pass --proxy-cafile"));
  EXPECT_TRUE(contains(advice_on(X509_V_ERR_HOSTNAME_MISMATCH), "--servername"));
  EXPECT_FALSE(contains(advice_on(X509_V_ERR_HOSTNAME_MISMATCH, Peer::kProxy), "--servername"));
}

TEST(AdviceTest, NameThatIsNotResolvedIsForTheNameServersAndAnAddressForTheServer) {
  const Error error = {.code = Errc::kUnreachable, .operation = "resolve a host name"};
  EXPECT_TRUE(contains(std::string(advice_on_connecting(error)), "name servers"));
  const Error refused = {.code = Errc::kUnreachable, .sys_errno = ECONNREFUSED, .operation = "c"};
  EXPECT_TRUE(contains(std::string(advice_on_connecting(refused)), "a server listens"));
}

}  // namespace
}  // namespace heddle::cli
