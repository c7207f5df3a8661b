// The EVP_PKEY whose private half is a Signer, as OpenSSL and programs beside us see it.
#include "tls/keys/signer_key.h"

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "heddle/error_queue.h"
#include "heddle/tls/private_key.h"

#include "openssl/handles.h"
#include "support/signers.h"
#include "support/tls_pair.h"
#include "tls/x509/pem.h"

namespace heddle {
namespace {

using test::bytes;

constexpr Deadline kNever = Deadline::never();
constexpr std::array<KeyType, 4> kTypes = {KeyType::kRsa2048, KeyType::kEcdsaP256,
                                           KeyType::kEcdsaP384, KeyType::kEd25519};

class SignerKeyTest : public testing::Test {
 protected:
  static openssl::KeyPtr public_key(KeyType type) {
    const auto chain = tls::parse_chain(test::identity(type).certificate_pem, "test").value();
    return openssl::KeyPtr(X509_get_pubkey(chain.front().get()));
  }
  static openssl::KeyPtr plain_key(KeyType type) {
    return tls::parse_key(test::identity(type).key_pem, {}, "test").value();
  }
  static openssl::KeyPtr signer_key(KeyType type, std::shared_ptr<Signer> signer = nullptr) {
    if (!signer) signer = test::key_signer(type);
    return tls::make_signer_key(public_key(type).get(), std::move(signer)).value();
  }

  const ErrorQueueScope scope_{Leftovers::kDrop};
  const ThreadErrorQueue queue_;
};

// Signs "message" with `digest`, and then as `set` says.
template <typename Set>
std::vector<unsigned char> sign(EVP_PKEY* key, const char* digest, Set set) {
  const openssl::DigestContextPtr context(EVP_MD_CTX_new());
  EVP_PKEY_CTX* parameters = nullptr;
  if (EVP_DigestSignInit_ex(context.get(), &parameters, digest, nullptr, nullptr, key, nullptr) !=
          1 ||
      !set(parameters)) {
    return {};
  }
  const auto* const message = reinterpret_cast<const unsigned char*>("message");
  std::size_t size = 0;
  if (EVP_DigestSign(context.get(), nullptr, &size, message, 7) != 1) return {};
  std::vector<unsigned char> signature(size);
  if (EVP_DigestSign(context.get(), signature.data(), &size, message, 7) != 1) return {};
  signature.resize(size);
  return signature;
}

std::vector<unsigned char> sign(EVP_PKEY* key, const char* digest) {
  return sign(key, digest, [](EVP_PKEY_CTX*) { return true; });
}

bool verifies(EVP_PKEY* key, const char* digest, const std::vector<unsigned char>& signature) {
  const openssl::DigestContextPtr context(EVP_MD_CTX_new());
  return EVP_DigestVerifyInit_ex(context.get(), nullptr, digest, nullptr, nullptr, key, nullptr) ==
             1 &&
         EVP_DigestVerify(context.get(), signature.data(), signature.size(),
                          reinterpret_cast<const unsigned char*>("message"), 7) == 1;
}

TEST_F(SignerKeyTest, AnswersWhatTheRealKeyAnswers) {
  for (const KeyType type : kTypes) {
    const auto real = plain_key(type);
    const auto key = signer_key(type);
    EXPECT_EQ(EVP_PKEY_get_bits(key.get()), EVP_PKEY_get_bits(real.get()));
    EXPECT_EQ(EVP_PKEY_get_security_bits(key.get()), EVP_PKEY_get_security_bits(real.get()));
    EXPECT_EQ(EVP_PKEY_get_size(key.get()), EVP_PKEY_get_size(real.get()));
    EXPECT_EQ(EVP_PKEY_is_a(key.get(), EVP_PKEY_get0_type_name(real.get())), 1);
    std::array<char, 64> group{};
    std::array<char, 64> real_group{};
    (void)EVP_PKEY_get_group_name(key.get(), group.data(), group.size(), nullptr);
    (void)EVP_PKEY_get_group_name(real.get(), real_group.data(), real_group.size(), nullptr);
    EXPECT_STREQ(group.data(), real_group.data());
  }
}

TEST_F(SignerKeyTest, EqualsItsPublicKeyFromEitherSideAndNoOther) {
  const auto other = make_self_signed({"other.test"}, KeyType::kEcdsaP256).value();
  const auto other_key = tls::parse_key(other.key_pem, {}, "test").value();
  for (const KeyType type : kTypes) {
    const auto key = signer_key(type);
    const auto same = public_key(type);
    EXPECT_EQ(EVP_PKEY_eq(key.get(), same.get()), 1);
    EXPECT_EQ(EVP_PKEY_eq(same.get(), key.get()), 1);
    EXPECT_EQ(EVP_PKEY_eq(key.get(), signer_key(type).get()), 1);
    EXPECT_NE(EVP_PKEY_eq(key.get(), other_key.get()), 1);
    EXPECT_NE(EVP_PKEY_eq(other_key.get(), key.get()), 1);
  }
}

TEST_F(SignerKeyTest, SignsWhatThePublicKeyVerifies) {
  for (const KeyType type : kTypes) {
    const char* const digest = type == KeyType::kEd25519 ? nullptr : "SHA256";
    EXPECT_TRUE(verifies(public_key(type).get(), digest, sign(signer_key(type).get(), digest)));
  }
  // By the names that OpenSSL has for the same.
  for (const char* const digest : {"SHA2-384", "SHA-384", "sha384"}) {
    EXPECT_TRUE(verifies(public_key(KeyType::kRsa2048).get(), digest,
                         sign(signer_key(KeyType::kRsa2048).get(), digest)));
  }
}

// libssl looks into the queue when it has to wait, and would take what it finds for a failure.
TEST_F(SignerKeyTest, WhatSucceedsLeavesNothingInTheQueue) {
  for (const KeyType type : kTypes) {
    const auto same = public_key(type);
    ERR_clear_error();
    const auto key = signer_key(type);
    EXPECT_EQ(EVP_PKEY_eq(key.get(), same.get()), 1);
    EXPECT_EQ(EVP_PKEY_eq(same.get(), key.get()), 1);
    EXPECT_GT(EVP_PKEY_get_bits(key.get()), 0);
    EXPECT_GT(EVP_PKEY_get_size(key.get()), 0);
    const char* const digest = type == KeyType::kEd25519 ? nullptr : "SHA256";
    EXPECT_EQ(EVP_PKEY_digestsign_supports_digest(key.get(), nullptr, digest, nullptr), 1);
    EXPECT_FALSE(sign(key.get(), digest).empty());
    EXPECT_TRUE(queue_.empty()) << queue_.entries().front().message();
  }
}

// The same may be said as a number or as text, and which it is depends on OpenSSL's version.
TEST_F(SignerKeyTest, PaddingAndSaltAsNumberOrTextLeaveNothingInTheQueue) {
  const auto key = signer_key(KeyType::kRsa2048);
  ERR_clear_error();
  int pss = RSA_PKCS1_PSS_PADDING;
  int salt = RSA_PSS_SALTLEN_DIGEST;
  const auto number = [](const char* name, int& value) {
    return OSSL_PARAM_construct_int(name, &value);
  };
  const auto text = [](const char* name, const char* value) {
    return OSSL_PARAM_construct_utf8_string(name, const_cast<char*>(value), 0);
  };
  const std::array<OSSL_PARAM, 2> paddings = {
      number(OSSL_SIGNATURE_PARAM_PAD_MODE, pss),
      text(OSSL_SIGNATURE_PARAM_PAD_MODE, OSSL_PKEY_RSA_PAD_MODE_PSS)};
  const std::array<OSSL_PARAM, 2> salts = {
      number(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, salt),
      text(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST)};
  for (const OSSL_PARAM& padding : paddings) {
    for (const OSSL_PARAM& length : salts) {
      const std::array<OSSL_PARAM, 3> given = {padding, length, OSSL_PARAM_construct_end()};
      EXPECT_FALSE(sign(key.get(), "SHA256", [&](EVP_PKEY_CTX* context) {
                     return EVP_PKEY_CTX_set_params(context, given.data()) == 1;
                   }).empty());
      EXPECT_TRUE(queue_.empty()) << queue_.entries().front().message();
      ERR_clear_error();
    }
  }
}

TEST_F(SignerKeyTest, RefusesWhatIsNotASignatureOfTls) {
  const auto rsa = signer_key(KeyType::kRsa2048);
  EXPECT_TRUE(sign(rsa.get(), "MD5-SHA1").empty());
  EXPECT_TRUE(sign(rsa.get(), "SHA3-256").empty());
  // libssl asks this before it chooses.
  EXPECT_EQ(EVP_PKEY_digestsign_supports_digest(rsa.get(), nullptr, "SHA256", nullptr), 1);
  EXPECT_LT(EVP_PKEY_digestsign_supports_digest(rsa.get(), nullptr, "SHA3-256", nullptr), 1);
  EXPECT_TRUE(sign(signer_key(KeyType::kEcdsaP256).get(), "SHA512-256").empty());
  const auto pss_with = [&](const char* digest, int salt, const EVP_MD* mgf1) {
    return sign(rsa.get(), digest, [=](EVP_PKEY_CTX* context) {
      return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(context, salt) == 1 &&
             (mgf1 == nullptr || EVP_PKEY_CTX_set_rsa_mgf1_md(context, mgf1) == 1);
    });
  };
  EXPECT_FALSE(pss_with("SHA256", RSA_PSS_SALTLEN_DIGEST, nullptr).empty());
  EXPECT_FALSE(pss_with("SHA256", RSA_PSS_SALTLEN_DIGEST, EVP_sha256()).empty());
  EXPECT_TRUE(pss_with("SHA256", RSA_PSS_SALTLEN_DIGEST, EVP_sha512()).empty());
  EXPECT_TRUE(pss_with("SHA256", RSA_PSS_SALTLEN_MAX, nullptr).empty());
  EXPECT_TRUE(pss_with("SHA256", 20, nullptr).empty());
  EXPECT_TRUE(pss_with("SHA224", RSA_PSS_SALTLEN_DIGEST, nullptr).empty());
  EXPECT_TRUE(sign(rsa.get(), "SHA256", [](EVP_PKEY_CTX* context) {
                return EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING) == 1;
              }).empty());
}

TEST_F(SignerKeyTest, KeepsItsPrivateHalfToItself) {
  const auto key = signer_key(KeyType::kRsa2048);
  const openssl::BioPtr out(BIO_new(BIO_s_mem()));
  EXPECT_NE(PEM_write_bio_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr),
            1);
  BIGNUM* exponent = nullptr;
  EXPECT_NE(EVP_PKEY_get_bn_param(key.get(), OSSL_PKEY_PARAM_RSA_D, &exponent), 1);
  EXPECT_EQ(exponent, nullptr);
  const openssl::KeyContextPtr context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  EXPECT_NE(EVP_PKEY_decrypt_init(context.get()), 1);
}

// Whoever asks OpenSSL for RSA gets what was there before us.
TEST_F(SignerKeyTest, NobodyElseIsGivenTheProvider) {
  const auto key = signer_key(KeyType::kRsa2048);
  EXPECT_EQ(OSSL_PROVIDER_available(nullptr, "heddle-signer"), 0);
  const openssl::KeyPtr made(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"));
  ASSERT_TRUE(made);
  EXPECT_STREQ(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(made.get())), "default");
  EXPECT_STREQ(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(key.get())), "heddle-signer");
}

// An SSL or X509_sign() that nobody of ours drives: there is only OpenSSL's queue to tell.
TEST_F(SignerKeyTest, WithoutAConnectionOfOursOpenSslsQueueSaysWhatFailed) {
  const auto refuse = std::make_shared<test::CallSigner>([](auto...) -> test::Signature {
    return Error{.code = Errc::kUnreachable, .operation = "ask the HSM"};
  });
  EXPECT_TRUE(sign(signer_key(KeyType::kEcdsaP256, refuse).get(), "SHA256").empty());
  EXPECT_NE(ThreadErrorQueue().entries().back().data.find("ask the HSM"), std::string::npos);
  const auto fail = std::make_shared<test::CallSigner>(
      [](auto...) -> test::Signature { throw std::runtime_error("no such token"); });
  EXPECT_TRUE(sign(signer_key(KeyType::kEcdsaP256, fail).get(), "SHA256").empty());
  EXPECT_NE(ThreadErrorQueue().entries().back().data.find("no such token"), std::string::npos);
}

TEST_F(SignerKeyTest, AKeyThatCannotSignInTlsIsRefused) {
  const openssl::KeyPtr exchange(EVP_PKEY_Q_keygen(nullptr, nullptr, "X25519"));
  const auto refused = tls::make_signer_key(exchange.get(), test::key_signer(KeyType::kRsa2048));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
  EXPECT_EQ(tls::make_signer_key(nullptr, nullptr).error().code, Errc::kInvalid);
}

TEST_F(SignerKeyTest, KeySignersRefuseOtherKeysSchemesAndUnknownOnes) {
  const auto signer = test::key_signer(KeyType::kEd25519);
  EXPECT_TRUE(signer->sign(SignatureScheme::kEd25519, bytes("message"), kNever));
  for (const auto scheme : {SignatureScheme::kRsaPkcs1Sha256, SignatureScheme::kEd448,
                            static_cast<SignatureScheme>(0x1234)}) {
    EXPECT_EQ(signer->sign(scheme, bytes("message"), kNever).error().code, Errc::kInvalid);
  }
  EXPECT_EQ(make_key_signer("no key").error().code, Errc::kInvalid);
}

TEST_F(SignerKeyTest, ContextRefusesAChainThatIsNone) {
  Context context = Context::create(Role::kServer).value();
  const auto refused = context.use_cert_chain("no chain", test::key_signer(KeyType::kEd25519));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
}

}  // namespace
}  // namespace heddle
