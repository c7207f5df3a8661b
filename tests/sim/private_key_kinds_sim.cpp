// Keys that are elsewhere: every kind of key and every scheme of TLS, with a signer that parks.
#include <array>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/tls/private_key.h"
#include "heddle/tls/stream.h"

#include "support/signers.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::bytes;
using test::Meeting;
using test::server_of;
using test::SlowSigner;

constexpr auto k12 = TlsVersion::kTls12;
constexpr auto k13 = TlsVersion::kTls13;

// Both ends, both versions.
using KeyCase = std::tuple<KeyType, TlsVersion>;

class PrivateKeyKindsSim : public testing::TestWithParam<KeyCase> {
 protected:
  KeyType type() const { return std::get<0>(GetParam()); }
  void set_version(Context& context) const {
    context.set_versions(std::get<1>(GetParam()), std::get<1>(GetParam())).value();
  }

  sim::World world_{/*seed=*/7};
};

TEST_P(PrivateKeyKindsSim, ServersSignatureMayPark) {
  const auto signer = std::make_shared<SlowSigner>(type());
  Context server = server_of(type(), signer);
  set_version(server);
  const Context client = test::client_context(type());
  world_.run([&] {
    Meeting meeting(world_, server, client);
    meeting.shake_hands();
    meeting.expect_success();
    EXPECT_EQ(meeting.client().peer_certificates().front().sha256, test::identity(type()).sha256);
  });
  EXPECT_EQ(signer->schemes.size(), 1U);
}

TEST_P(PrivateKeyKindsSim, ClientsSignatureMayPark) {
  const auto signer = std::make_shared<SlowSigner>(type());
  Context server = test::server_context();
  server.add_trusted_certificates(bytes(test::identity(type()).certificate_pem)).value();
  server.set_verify_mode(VerifyMode::kRequired);
  set_version(server);
  Context client = test::client_context();
  client.use_cert_chain(test::identity(type()).certificate_pem, signer).value();
  world_.run([&] {
    Meeting meeting(world_, server, client);
    meeting.shake_hands();
    meeting.expect_success();
    EXPECT_EQ(meeting.server().peer_certificates().front().sha256, test::identity(type()).sha256);
  });
  EXPECT_EQ(signer->schemes.size(), 1U);
}

std::string case_name(const testing::TestParamInfo<KeyCase>& info) {
  constexpr std::array<const char*, 5> kNames = {"p256", "rsa2048", "ed25519", "p384", "rsa4096"};
  const auto [type, version] = info.param;
  return std::string(kNames[static_cast<std::size_t>(type)]) +
         (version == TlsVersion::kTls12 ? "_tls12" : "_tls13");
}

INSTANTIATE_TEST_SUITE_P(Kinds, PrivateKeyKindsSim,
                         testing::Combine(testing::Values(KeyType::kRsa2048, KeyType::kRsa4096,
                                                          KeyType::kEcdsaP256, KeyType::kEcdsaP384,
                                                          KeyType::kEd25519),
                                          testing::Values(TlsVersion::kTls12, TlsVersion::kTls13)),
                         case_name);

struct SchemeCase {
  const char* name;  // As SSL_CTX_set1_sigalgs_list(3) takes it.
  SignatureScheme scheme;
  KeyType type;
  TlsVersion version;
};

class PrivateKeySchemesSim : public testing::TestWithParam<SchemeCase> {};

TEST_P(PrivateKeySchemesSim, TheSignerIsAskedForWhatThePeerAccepts) {
  const SchemeCase& which = GetParam();
  const auto signer = std::make_shared<SlowSigner>(which.type);
  Context server = server_of(which.type, signer);
  server.set_versions(which.version, which.version).value();
  Context client = test::client_context(which.type);
  // Below the default level SHA-1 may be used.
  SSL_CTX_set_security_level(server.native_handle(), 0);
  SSL_CTX_set_security_level(client.native_handle(), 0);
  ASSERT_EQ(SSL_CTX_set1_sigalgs_list(client.native_handle(), which.name), 1);
  ASSERT_EQ(SSL_CTX_set1_sigalgs_list(server.native_handle(), which.name), 1);
  sim::World world(/*seed=*/7);
  world.run([&] {
    Meeting meeting(world, server, client);
    meeting.shake_hands();
    meeting.expect_success();
  });
  EXPECT_EQ(signer->schemes, std::vector{which.scheme});
}

using S = SignatureScheme;

INSTANTIATE_TEST_SUITE_P(
    Schemes, PrivateKeySchemesSim,
    testing::Values(
        SchemeCase{"RSA+SHA1", S::kRsaPkcs1Sha1, KeyType::kRsa2048, k12},
        SchemeCase{"RSA+SHA224", S::kRsaPkcs1Sha224, KeyType::kRsa2048, k12},
        SchemeCase{"RSA+SHA256", S::kRsaPkcs1Sha256, KeyType::kRsa2048, k12},
        SchemeCase{"RSA+SHA384", S::kRsaPkcs1Sha384, KeyType::kRsa4096, k12},
        SchemeCase{"RSA+SHA512", S::kRsaPkcs1Sha512, KeyType::kRsa4096, k12},
        SchemeCase{"rsa_pss_rsae_sha256", S::kRsaPssRsaeSha256, KeyType::kRsa2048, k12},
        SchemeCase{"rsa_pss_rsae_sha256", S::kRsaPssRsaeSha256, KeyType::kRsa4096, k13},
        SchemeCase{"rsa_pss_rsae_sha384", S::kRsaPssRsaeSha384, KeyType::kRsa2048, k13},
        SchemeCase{"rsa_pss_rsae_sha512", S::kRsaPssRsaeSha512, KeyType::kRsa2048, k13},
        SchemeCase{"ECDSA+SHA1", S::kEcdsaSha1, KeyType::kEcdsaP256, k12},
        SchemeCase{"ECDSA+SHA224", S::kEcdsaSha224, KeyType::kEcdsaP256, k12},
        SchemeCase{"ECDSA+SHA256", S::kEcdsaSecp256r1Sha256, KeyType::kEcdsaP384, k12},
        SchemeCase{"ECDSA+SHA384", S::kEcdsaSecp384r1Sha384, KeyType::kEcdsaP256, k12},
        SchemeCase{"ECDSA+SHA512", S::kEcdsaSecp521r1Sha512, KeyType::kEcdsaP256, k12},
        SchemeCase{"ecdsa_secp256r1_sha256", S::kEcdsaSecp256r1Sha256, KeyType::kEcdsaP256, k13},
        SchemeCase{"ecdsa_secp384r1_sha384", S::kEcdsaSecp384r1Sha384, KeyType::kEcdsaP384, k13},
        SchemeCase{"ed25519", S::kEd25519, KeyType::kEd25519, k12},
        SchemeCase{"ed25519", S::kEd25519, KeyType::kEd25519, k13}));

}  // namespace
}  // namespace heddle
