// Credentials in each of the forms in which they come. ContextTests.test_load_cert_chain of
// CPython's tests, and what others have besides.
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <unistd.h>

#include "heddle/error_queue.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/context.h"

#include "openssl/handles.h"
#include "support/chain.h"
#include "support/handshake_outcome.h"
#include "support/own_entries.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

constexpr std::string_view kPassword = "correct horse";

std::string text_of(const openssl::BioPtr& bio) {
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

openssl::BioPtr memory() {
  return openssl::BioPtr(BIO_new(BIO_s_mem()));
}

// One identity in all forms.
struct Forms {
  explicit Forms(KeyType type) : pem(test::identity(type)) {
    const openssl::BioPtr chain(BIO_new_mem_buf(pem.certificate_pem.data(), -1));
    certificate.reset(PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr));
    const openssl::BioPtr text(BIO_new_mem_buf(pem.key_pem.data(), -1));
    key.reset(PEM_read_bio_PrivateKey(text.get(), nullptr, nullptr, nullptr));
  }

  std::string certificate_der() const {
    const ErrorQueueScope scope(Leftovers::kDrop);
    const auto bio = memory();
    i2d_X509_bio(bio.get(), certificate.get());
    return text_of(bio);
  }
  std::string key_der() const {
    const ErrorQueueScope scope(Leftovers::kDrop);
    const auto bio = memory();
    i2d_PKCS8PrivateKey_bio(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    return text_of(bio);
  }
  std::string encrypted_key_der() const {
    const ErrorQueueScope scope(Leftovers::kDrop);
    const auto bio = memory();
    i2d_PKCS8PrivateKey_bio(bio.get(), key.get(), EVP_aes_256_cbc(), kPassword.data(),
                            static_cast<int>(kPassword.size()), nullptr, nullptr);
    return text_of(bio);
  }
  std::string encrypted_key_pem() const {
    const ErrorQueueScope scope(Leftovers::kDrop);
    const auto bio = memory();
    PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), EVP_aes_256_cbc(), kPassword.data(),
                                  static_cast<int>(kPassword.size()), nullptr, nullptr);
    return text_of(bio);
  }
  std::string pkcs12() const {
    const ErrorQueueScope scope(Leftovers::kDrop);
    const std::string password(kPassword);
    const openssl::Handle<PKCS12, PKCS12_free> made(PKCS12_create(
        password.c_str(), "name", key.get(), certificate.get(), nullptr, 0, 0, 0, 0, 0));
    const auto bio = memory();
    i2d_PKCS12_bio(bio.get(), made.get());
    return text_of(bio);
  }

  const Identity& pem;
  openssl::X509Ptr certificate;
  openssl::KeyPtr key;
};

class CredentialsTest : public testing::Test {
 protected:
  // They are those of test::identity(type).
  static void expect_good(const Result<Credentials>& credentials,
                          KeyType type = KeyType::kEcdsaP256) {
    ASSERT_TRUE(credentials) << credentials.error().message();
    Context server = Context::create(Role::kServer).value();
    ASSERT_TRUE(server.use_credentials(*credentials));
    test::HandshakeOutcome outcome;
    test::connect(outcome, server, test::client_context(type));
    EXPECT_TRUE(outcome.well());
  }
  static void expect_invalid(const Result<Credentials>& credentials) {
    ASSERT_FALSE(credentials);
    EXPECT_EQ(credentials.error().code, Errc::kInvalid) << credentials.error().message();
  }

  test::OwnEntries entries_;
  Forms forms_{KeyType::kEcdsaP256};
};

TEST_F(CredentialsTest, PemOrDerOfEither) {
  const std::string& pem = forms_.pem.certificate_pem;
  const std::string der = forms_.certificate_der();
  expect_good(Credentials::parse(pem, forms_.pem.key_pem));
  expect_good(Credentials::parse(der, forms_.pem.key_pem));
  expect_good(Credentials::parse(pem, forms_.key_der()));
  expect_good(Credentials::parse(der, forms_.key_der()));
  expect_good(Credentials::parse(der, forms_.encrypted_key_der(), kPassword));
  expect_good(Credentials::parse(pem, forms_.encrypted_key_pem(), kPassword));
}

TEST_F(CredentialsTest, BytesThatAreNeitherAreRefused) {
  const std::string der = forms_.certificate_der();
  for (const std::string& bad : {std::string(), std::string("text"), der + "x", der.substr(1),
                                 der.substr(0, der.size() / 2), forms_.key_der()}) {
    expect_invalid(Credentials::parse(bad, forms_.pem.key_pem));
  }
  for (const std::string& bad :
       {std::string(), std::string("text"), forms_.key_der().substr(0, 20), der}) {
    expect_invalid(Credentials::parse(forms_.pem.certificate_pem, bad));
  }
  expect_invalid(
      Credentials::parse(forms_.pem.certificate_pem, test::identity(KeyType::kRsa2048).key_pem));
}

TEST_F(CredentialsTest, WrongOrMissingPasswordIsRefused) {
  for (const std::string& key : {forms_.encrypted_key_pem(), forms_.encrypted_key_der()}) {
    expect_invalid(Credentials::parse(forms_.pem.certificate_pem, key, "wrong"));
    expect_invalid(Credentials::parse(forms_.pem.certificate_pem, key));
    expect_invalid(Credentials::parse(forms_.pem.certificate_pem, key, std::string(100'000, 'x')));
    expect_invalid(Credentials::parse(forms_.pem.certificate_pem, key, PasswordCallback()));
  }
}

TEST_F(CredentialsTest, PasswordIsAskedForWhenItIsNeeded) {
  int asked = 0;
  const PasswordCallback password = [&]() -> Result<std::string> {
    ++asked;
    return std::string(kPassword);
  };
  expect_good(Credentials::parse(forms_.pem.certificate_pem, forms_.pem.key_pem, password));
  EXPECT_EQ(asked, 0);
  expect_good(Credentials::parse(forms_.pem.certificate_pem, forms_.encrypted_key_pem(), password));
  EXPECT_EQ(asked, 1);
  expect_good(Credentials::parse(forms_.pem.certificate_pem, forms_.encrypted_key_der(), password));
  EXPECT_EQ(asked, 2);
}

TEST_F(CredentialsTest, WhatThePasswordCallbackSaysOrThrowsComesOut) {
  for (const std::string& key : {forms_.encrypted_key_pem(), forms_.encrypted_key_der()}) {
    const PasswordCallback refuse = []() -> Result<std::string> {
      return Error{.code = Errc::kCancelled, .operation = "ask the user"};
    };
    const auto refused = Credentials::parse(forms_.pem.certificate_pem, key, refuse);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kCancelled);
    EXPECT_STREQ(refused.error().operation, "ask the user");
    const PasswordCallback raise = []() -> Result<std::string> {
      throw std::runtime_error("no terminal");
    };
    EXPECT_THROW((void)Credentials::parse(forms_.pem.certificate_pem, key, raise),
                 std::runtime_error);
  }
}

TEST_F(CredentialsTest, Pkcs12) {
  const std::string file = forms_.pkcs12();
  expect_good(Credentials::parse_pkcs12(test::bytes(file), kPassword));
  expect_invalid(Credentials::parse_pkcs12(test::bytes(file), "wrong"));
  expect_invalid(Credentials::parse_pkcs12(test::bytes(file)));
  expect_invalid(Credentials::parse_pkcs12(test::bytes("text"), kPassword));
  expect_invalid(
      Credentials::parse_pkcs12(test::bytes(file.substr(0, file.size() / 2)), kPassword));
  expect_invalid(Credentials::parse_pkcs12(test::bytes(forms_.pem.certificate_pem), kPassword));
}

TEST_F(CredentialsTest, Pkcs12WithoutAKeyIsRefused) {
  const std::string password(kPassword);
  const ErrorQueueScope scope(Leftovers::kDrop);
  const openssl::Handle<PKCS12, PKCS12_free> made(PKCS12_create(
      password.c_str(), nullptr, nullptr, forms_.certificate.get(), nullptr, 0, 0, 0, 0, 0));
  const auto bio = memory();
  i2d_PKCS12_bio(bio.get(), made.get());
  expect_invalid(Credentials::parse_pkcs12(test::bytes(text_of(bio)), kPassword));
}

TEST_F(CredentialsTest, KeyOfAStore) {
  std::string folder = testing::TempDir() + "/heddle-store-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/plain.pem") << forms_.pem.key_pem;
  std::ofstream(folder + "/locked.pem") << forms_.encrypted_key_pem();
  std::ofstream(folder + "/certificate.pem") << forms_.pem.certificate_pem;
  const auto open = [&](const char* name, std::string_view password) {
    return Credentials::open(forms_.pem.certificate_pem, "file:" + folder + name, password);
  };
  expect_good(open("/plain.pem", {}));
  expect_good(open("/locked.pem", kPassword));
  expect_invalid(open("/locked.pem", "wrong"));
  expect_invalid(open("/locked.pem", {}));
  expect_invalid(open("/none.pem", {}));
  expect_invalid(open("/certificate.pem", {}));
  expect_invalid(Credentials::open(forms_.pem.certificate_pem, "no-such-scheme:x"));
  std::filesystem::remove_all(folder);
}

// ThreadedTests.test_dual_rsa_ecc.
TEST_F(CredentialsTest, PeerIsShownThatOfTheTypeThatItCanUse) {
  const Forms rsa(KeyType::kRsa2048);
  const std::array several = {
      Credentials::parse(forms_.pem.certificate_pem, forms_.pem.key_pem).value(),
      Credentials::parse(rsa.pem.certificate_pem, rsa.pem.key_pem).value()};
  const Credentials both = Credentials::combine(several).value();
  Context server = Context::create(Role::kServer).value();
  ASSERT_TRUE(server.use_credentials(both));
  Context asking = Context::create(Role::kServer).value();
  asking.on_certificate([&](const ConnectionView&) { return std::optional(both); });
  for (const Context* const context : {&server, &asking}) {
    for (const auto& [type, algorithms] :
         {std::pair{KeyType::kRsa2048, "rsa_pss_rsae_sha256"},
          std::pair{KeyType::kEcdsaP256, "ecdsa_secp256r1_sha256"}}) {
      Context client = test::client_context(type);
      client.set_signature_algorithms(algorithms).value();
      test::HandshakeOutcome outcome;
      test::connect(outcome, *context, client);
      EXPECT_TRUE(outcome.well()) << algorithms;
    }
  }
}

// It has not been asked yet when versions do not match.
TEST_F(CredentialsTest, CertificateThatACallbackGivesIsNotCalledMissing) {
  const auto ours = Credentials::parse(forms_.pem.certificate_pem, forms_.pem.key_pem).value();
  Context server = Context::create(Role::kServer).value();
  server.on_certificate([&](const ConnectionView&) { return std::optional(ours); });
  server.set_versions(TlsVersion::kTls13, TlsVersion::kTls13).value();
  Context client = test::client_context(KeyType::kEcdsaP256);
  client.set_versions(TlsVersion::kTls12, TlsVersion::kTls12).value();
  test::HandshakeOutcome outcome;
  test::connect(outcome, server, client);
  ASSERT_TRUE(outcome.server_error);
  EXPECT_EQ(outcome.server_error->code, Errc::kProtocol) << outcome.server_error->message();
}

// RFC 5280, section 4.1.2.5.
TEST_F(CredentialsTest, CertificateWithoutAnEndIsGoodForLong) {
  const std::string pem =
      test::pem_of(test::issue({.common_name = "ever", .not_after = "99991231235959Z"}));
  const auto now = std::chrono::system_clock::now();
  EXPECT_GT(Credentials::parse(pem, pem).value().not_after(), now + std::chrono::hours(24 * 365));
}

TEST_F(CredentialsTest, OneThatIsRefusedLeavesAllOthers) {
  const std::string weak = [] {
    const ErrorQueueScope scope(Leftovers::kDrop);
    test::Issued made{openssl::X509Ptr(X509_new()), openssl::KeyPtr(EVP_RSA_gen(1024))};
    X509_gmtime_adj(X509_getm_notBefore(made.certificate.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(made.certificate.get()), 3600);
    X509_set_pubkey(made.certificate.get(), made.key.get());
    X509_sign(made.certificate.get(), made.key.get(), EVP_sha256());
    return test::pem_of(made);
  }();
  const Identity other = make_self_signed({test::kServerName}, KeyType::kEcdsaP256).value();
  const std::array several = {Credentials::parse(other.certificate_pem, other.key_pem).value(),
                              Credentials::parse(weak, weak).value()};
  Context server = test::server_context(KeyType::kEcdsaP256);
  EXPECT_EQ(server.use_credentials(Credentials::combine(several).value()).error().code,
            Errc::kInvalid);
  test::HandshakeOutcome outcome;
  test::connect(outcome, server, test::client_context(KeyType::kEcdsaP256));
  EXPECT_TRUE(outcome.well()) << "it shows what it had";
}

TEST_F(CredentialsTest, OneOfEachType) {
  const auto one = Credentials::parse(forms_.pem.certificate_pem, forms_.pem.key_pem).value();
  const std::array twice = {one, one};
  expect_invalid(Credentials::combine(twice));
}

}  // namespace
}  // namespace heddle
