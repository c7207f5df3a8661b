// Certificates of an authority of one's own, and what is said about chains of them.
#include "heddle/tls/check_chain.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "heddle/tls/certificate_details.h"
#include "heddle/tls/context.h"
#include "heddle/tls/make_certificate.h"

#include "support/own_entries.h"

namespace heddle {
namespace {

using Purpose = CertificatePurpose;
using Flaw = CertificateFlaw;
using std::chrono::hours;

// X509_V_ERR_*, as openssl-verification-options(1) numbers them.
constexpr int kBadSignature = 7;
constexpr int kNotYetValid = 9;
constexpr int kExpired = 10;
constexpr int kSelfSigned = 18;
constexpr int kNoIssuer = 20;
constexpr int kWrongPurpose = 26;
constexpr int kMayNotSign = 32;
constexpr int kNameMismatch = 62;
constexpr int kAddressMismatch = 64;
constexpr int kNoAuthorityKeyId = 85;

class CheckChainTest : public testing::TestWithParam<KeyType> {
 protected:
  static Identity authority(Flaw flaw = Flaw::kNone, KeyType type = KeyType::kEcdsaP256) {
    return make_certificate({.common_name = "test authority",
                             .purpose = Purpose::kAuthority,
                             .key_type = type,
                             .flaw = flaw})
        .value();
  }

  static Identity issue(CertificateOptions options, const Identity& by) {
    if (options.names.empty()) options.names = {"server.test", "127.0.0.1"};
    return make_certificate(options, &by).value();
  }

  static std::vector<int> codes(const std::string& chain, const ChainCheckOptions& options) {
    const auto report = check_chain(chain, options);
    EXPECT_TRUE(report) << report.error().message();
    std::vector<int> all;
    if (report) {
      for (const ChainFault& fault : report->faults) {
        EXPECT_FALSE(fault.text.empty());
        all.push_back(fault.verify_code);
      }
    }
    return all;
  }

  static bool has(const std::vector<int>& codes, int code) {
    return std::ranges::find(codes, code) != codes.end();
  }

  test::OwnEntries own_;
};

TEST_P(CheckChainTest, WhatIsMadeVerifiesStrictly) {
  const Identity root = authority(Flaw::kNone, GetParam());
  const Identity server = issue({.key_type = GetParam()}, root);
  for (const char* host : {"server.test", "SERVER.test", "127.0.0.1", ""}) {
    EXPECT_EQ(codes(server.certificate_pem, {.host = host, .roots_pem = root.certificate_pem}),
              std::vector<int>());
  }
  const Identity client = issue({.purpose = Purpose::kClient, .key_type = GetParam()}, root);
  EXPECT_EQ(codes(client.certificate_pem,
                  {.roots_pem = root.certificate_pem, .purpose = Purpose::kClient}),
            std::vector<int>());
  auto context = Context::create(Role::kServer);
  EXPECT_TRUE(
      context->use_cert_chain(server.certificate_pem + root.certificate_pem, server.key_pem));
}

INSTANTIATE_TEST_SUITE_P(KeyTypes, CheckChainTest,
                         testing::Values(KeyType::kEcdsaP256, KeyType::kRsa2048, KeyType::kEd25519,
                                         KeyType::kEcdsaP384));

class OneKeyTest : public CheckChainTest {};
INSTANTIATE_TEST_SUITE_P(Ecdsa, OneKeyTest, testing::Values(KeyType::kEcdsaP256));

TEST_P(OneKeyTest, EveryKindOfNameIsPutIn) {
  const Identity root = authority();
  const Identity made = issue({.common_name = "worker",
                               .names = {"a.test", "::1", "who@where.test", "spiffe://a.test/b,c"},
                               .purpose = Purpose::kClient},
                              root);
  const std::string der = parse_certificate(made.certificate_pem)->der;
  const CertificateDetails shown = certificate_details(der).value();
  std::vector<std::string> texts;
  for (const AlternativeName& name : shown.subject_alt_names) texts.push_back(name.text);
  EXPECT_EQ(texts,
            (std::vector<std::string>{"a.test", "::1", "who@where.test", "spiffe://a.test/b,c"}));
  EXPECT_EQ(shown.subject_alt_names[3].kind, AlternativeNameKind::kUri);
  EXPECT_EQ(shown.subject.at(0).at(0).value, "worker");
  EXPECT_EQ(shown.issuer.at(0).at(0).value, "test authority");
}

TEST_P(OneKeyTest, CommonNameIsCutBetweenCharacters) {
  std::string name;
  for (int i = 0; i < 40; ++i) name += "\xc3\xa4";
  name.insert(0, "x");
  const Identity made =
      make_certificate({.common_name = name, .purpose = Purpose::kAuthority}).value();
  const std::string der = parse_certificate(made.certificate_pem)->der;
  EXPECT_EQ(certificate_details(der)->subject.at(0).at(0).value, name.substr(0, 63));
}

TEST_P(OneKeyTest, NamesThatNoCertificateCanHoldAreRefused) {
  for (const char* bad :
       {"two words", "", "a@", "@b", "a@b@c", "://x", "http://a b", "a\nb", "1:2:3"}) {
    const auto made = make_certificate({.names = {"good.test", bad}});
    ASSERT_FALSE(made) << bad;
    EXPECT_EQ(made.error().code, Errc::kInvalid);
  }
  const auto far_away = make_certificate({.names = {"a.test"}, .ends = hours(24) * 365 * 10000});
  ASSERT_FALSE(far_away);
  EXPECT_EQ(far_away.error().code, Errc::kInvalid);
}

TEST_P(OneKeyTest, IssuerMustBeOne) {
  const Identity root = authority();
  const Identity other = authority();
  for (const Identity& bad : {Identity{}, Identity{root.certificate_pem, other.key_pem, ""},
                              Identity{root.certificate_pem, "", ""}}) {
    const auto made = make_certificate({.names = {"a.test"}}, &bad);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Errc::kInvalid);
  }
}

TEST_P(OneKeyTest, EachFlawIsFound) {
  const Identity root = authority();
  const ChainCheckOptions options = {.host = "server.test", .roots_pem = root.certificate_pem};
  const auto found = [&](const CertificateOptions& wanted) {
    return codes(issue(wanted, root).certificate_pem, options);
  };
  EXPECT_EQ(found({}), std::vector<int>());
  EXPECT_EQ(found({.begins = hours(-48), .ends = hours(-24)}), std::vector{kExpired});
  EXPECT_EQ(found({.begins = hours(24)}), std::vector{kNotYetValid});
  EXPECT_EQ(found({.names = {"other.test"}}), std::vector{kNameMismatch});
  EXPECT_EQ(found({.flaw = Flaw::kNoAlternativeNames}), std::vector{kNameMismatch});
  EXPECT_EQ(found({.flaw = Flaw::kWrongUsage}), std::vector{kWrongPurpose});
  EXPECT_EQ(found({.flaw = Flaw::kNoAuthorityKeyId}), std::vector{kNoAuthorityKeyId});
  EXPECT_EQ(found({.flaw = Flaw::kBadSignature}), std::vector{kBadSignature});
  EXPECT_EQ(codes(issue({}, root).certificate_pem,
                  {.host = "127.0.0.2", .roots_pem = root.certificate_pem}),
            std::vector{kAddressMismatch});
}

TEST_P(OneKeyTest, FaultsAreAllFoundAndToldOnce) {
  const Identity root = authority();
  const Identity bad = issue({.names = {"other.test"},
                              .begins = hours(-48),
                              .ends = hours(-24),
                              .flaw = Flaw::kWrongUsage},
                             root);
  std::vector<int> found =
      codes(bad.certificate_pem, {.host = "server.test", .roots_pem = root.certificate_pem});
  std::ranges::sort(found);
  EXPECT_EQ(found, (std::vector{kExpired, kWrongPurpose, kNameMismatch}));
}

TEST_P(OneKeyTest, AuthorityThatMayNotSignIsFound) {
  const Identity root = authority(Flaw::kWrongUsage);
  const Identity server = issue({}, root);
  EXPECT_TRUE(has(codes(server.certificate_pem, {.roots_pem = root.certificate_pem}), kMayNotSign));
}

TEST_P(OneKeyTest, UnknownIssuersAndSelfSignedOnesAreFound) {
  const Identity root = authority();
  const Identity stranger = authority();
  EXPECT_TRUE(has(codes(issue({}, stranger).certificate_pem, {.roots_pem = root.certificate_pem}),
                  kNoIssuer));
  const Identity alone = make_certificate({.names = {"server.test"}}).value();
  EXPECT_TRUE(has(codes(alone.certificate_pem, {.roots_pem = root.certificate_pem}), kSelfSigned));
  EXPECT_EQ(codes(alone.certificate_pem, {.roots_pem = alone.certificate_pem}), std::vector<int>());
}

TEST_P(OneKeyTest, IssuersAreFoundInAnyOrder) {
  const Identity root = authority();
  const Identity server = issue({}, root);
  const Identity namesake = authority();  // The same name, another key.
  const auto issuers = [&](const std::string& pem) {
    return check_chain(pem, {.roots_pem = root.certificate_pem})->issuers;
  };
  EXPECT_EQ(issuers(server.certificate_pem + root.certificate_pem), (std::vector{1, 1}));
  EXPECT_EQ(issuers(root.certificate_pem + server.certificate_pem), (std::vector{0, 0}));
  EXPECT_EQ(issuers(server.certificate_pem + namesake.certificate_pem), (std::vector{-1, 1}));
  const Identity damaged = issue({.flaw = Flaw::kBadSignature}, root);
  EXPECT_EQ(issuers(damaged.certificate_pem + root.certificate_pem), (std::vector{1, 1}));
}

TEST_P(OneKeyTest, WhatCannotBeCheckedIsRefused) {
  const Identity root = authority();
  std::string many;
  for (int i = 0; i < 101; ++i) many += root.certificate_pem;
  const std::string& pem = root.certificate_pem;
  const std::vector<std::pair<std::string, ChainCheckOptions>> all = {
      {"", {}},
      {"junk", {}},
      {many, {}},
      {pem, {.host = "two words"}},
      {pem, {.roots_pem = "junk"}},
      {pem, {.purpose = Purpose::kAuthority}}};
  for (const auto& [chain, options] : all) {
    const auto refused = check_chain(chain, options);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
  }
}

TEST(MakeCertificateDeathTest, CertificateForNothingAborts) {
  EXPECT_DEATH((void)make_certificate({}), "make_certificate\\(\\) without a name");
}

}  // namespace
}  // namespace heddle
