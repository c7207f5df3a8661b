// What a context may negotiate, and what a connection was offered, as data.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/tls/context.h"

#include "support/handshake_outcome.h"
#include "support/own_entries.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

template <typename Info>
std::vector<std::string> names(const std::vector<Info>& all) {
  std::vector<std::string> names;
  for (const Info& each : all) names.push_back(each.name);
  return names;
}

template <typename Info>
bool has(const std::vector<Info>& all, std::string_view name, std::uint16_t id) {
  return std::any_of(all.begin(), all.end(),
                     [&](const Info& each) { return each.name == name && each.id == id; });
}

using Names = std::vector<std::string>;

class IntrospectionTest : public testing::TestWithParam<Role> {
 protected:
  test::OwnEntries entries_;
  Context context_ = Context::create(GetParam(), Trust::kNothing).value();
};

// CPython: ContextTests.test_get_groups.
TEST_P(IntrospectionTest, GroupsAreThoseThatWereSetInTheirOrder) {
  context_.set_groups("P-384:x25519:ffdhe2048").value();
  EXPECT_EQ(names(context_.groups()), (Names{"secp384r1", "x25519", "ffdhe2048"}));
  EXPECT_TRUE(has(context_.groups(), "secp384r1", 24));
}

TEST_P(IntrospectionTest, DefaultGroupsAreThoseOfBrowsers) {
  std::vector<GroupInfo> groups = context_.groups();
#if OPENSSL_VERSION_NUMBER >= 0x30500000L
  ASSERT_TRUE(has(groups, "X25519MLKEM768", 0x11ec));
  groups.erase(groups.begin());
#endif
  EXPECT_EQ(names(groups), (Names{"x25519", "secp256r1", "secp384r1"}));
}

TEST_P(IntrospectionTest, SignatureAlgorithmsAreThoseThatWereSetInTheirOrder) {
  context_.set_signature_algorithms("ed25519:ECDSA+SHA256:rsa_pss_rsae_sha512").value();
  EXPECT_EQ(names(context_.signature_algorithms()),
            (Names{"ed25519", "ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha512"}));
  EXPECT_TRUE(has(context_.signature_algorithms(), "ed25519", 0x0807));
}

TEST_P(IntrospectionTest, WhatTheSecurityLevelForbidsIsNotListed) {
  context_.set_security_level(0);
  EXPECT_TRUE(has(context_.signature_algorithms(), "rsa_pkcs1_sha1", 0x0201));
  context_.set_security_level(2);
  EXPECT_FALSE(has(context_.signature_algorithms(), "rsa_pkcs1_sha1", 0x0201));
}

// Nobody is told of the connection that is made for it, whatever is set.
TEST_P(IntrospectionTest, AskingCallsNothingOfThePrograms) {
  int calls = 0;
  context_.on_message([&](const ConnectionView&, const TlsMessage&) {
    ++calls;
    return Result<void>();
  });
  if (GetParam() == Role::kClient) {
    context_.on_psk_client(
        [&](const ConnectionView&, std::string_view) -> Result<std::optional<Psk>> {
          ++calls;
          return std::optional<Psk>();
        });
  }
  SSL_CTX_set_app_data(context_.native_handle(), &calls);
  SSL_CTX_set_info_callback(context_.native_handle(), [](const SSL* ssl, int, int) {
    ++*static_cast<int*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  });
  EXPECT_FALSE(context_.groups().empty());
  EXPECT_EQ(calls, 0);
}

INSTANTIATE_TEST_SUITE_P(Roles, IntrospectionTest, testing::Values(Role::kClient, Role::kServer),
                         [](const auto& role) {
                           return role.param == Role::kClient ? "client" : "server";
                         });

TEST(SupportedTest, GroupsThatAreSupportedCanBeSet) {
  const test::OwnEntries entries;
  const std::vector<GroupInfo> groups = supported_groups();
  EXPECT_TRUE(has(groups, "x25519", 29));
  EXPECT_TRUE(has(groups, "secp256r1", 23));
  std::vector<std::uint16_t> ids;
  for (const GroupInfo& each : groups) ids.push_back(each.id);
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end()) << "none comes twice";
  Context context = Context::create(Role::kClient, Trust::kNothing).value();
  for (const GroupInfo& each : groups) EXPECT_TRUE(context.set_groups(each.name)) << each.name;
}

TEST(SupportedTest, SignatureAlgorithmsThatAreSupportedCanBeSet) {
  const test::OwnEntries entries;
  const std::vector<SignatureInfo> all = supported_signature_algorithms();
  EXPECT_TRUE(has(all, "ed25519", 0x0807));
  EXPECT_TRUE(has(all, "rsa_pss_rsae_sha256", 0x0804));
  Context context = Context::create(Role::kClient, Trust::kNothing).value();
  context.set_security_level(0);
  for (const SignatureInfo& each : all) {
    ASSERT_TRUE(context.set_signature_algorithms(each.name)) << each.name;
    EXPECT_EQ(context.signature_algorithms(), std::vector{each});
  }
}

// What nobody has a name for goes by its number.
TEST(SupportedTest, EverythingThatIsOfferedHasAName) {
  Context context = Context::create(Role::kClient, Trust::kNothing).value();
  context.set_security_level(0);
  for (const SignatureInfo& each : context.signature_algorithms()) {
    EXPECT_FALSE(each.name.empty());
  }
  context.set_signature_algorithms("RSA+SHA224").value();
  EXPECT_EQ(context.signature_algorithms(), (std::vector<SignatureInfo>{{"0x0301", 0x0301}}));
}

TEST(OfferedCiphersTest, ServerSeesWhatTheClientOfferedKnownOrNot) {
  const Context server = test::server_context();
  Context client = test::client_context();
  client.set_versions(TlsVersion::kTls13, TlsVersion::kTls13).value();
  client.set_ciphersuites("TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256").value();
  test::HandshakeOutcome both;
  both.server.open(server, "");
  EXPECT_TRUE(both.server.tls->offered_ciphers().empty()) << "nothing has come";
  both.client.open(client, test::kServerName);
  test::shake_hands(both);
  ASSERT_TRUE(both.well());
  const std::vector<std::uint16_t> offered = both.server.tls->offered_ciphers();
  ASSERT_GE(offered.size(), 2U);
  EXPECT_EQ(offered[0], 0x1303);
  EXPECT_EQ(offered[1], 0x1301);
  EXPECT_TRUE(both.client.tls->offered_ciphers().empty());
}

}  // namespace
}  // namespace heddle
