// Callbacks that choose or judge certificates, protocols and OCSP responses, and park meanwhile.
#include <array>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "heddle/fiber.h"
#include "heddle/tls/callbacks.h"

#include "support/callback_world.h"
#include "support/chain.h"
#include "support/ocsp.h"
#include "support/seeds.h"

namespace heddle {
namespace {

using test::Conversation;

int alert_of(const Conversation::End& end) {
  return end.error ? ERR_GET_REASON(end.error->openssl_code) - SSL_AD_REASON_OFFSET : -1;
}

std::optional<Credentials> credentials(KeyType type) {
  const Identity& identity = test::identity(type);
  return Credentials::parse(identity.certificate_pem, identity.key_pem).value();
}

class HandshakeCallbacksSim : public testing::TestWithParam<std::tuple<TlsVersion, std::uint64_t>> {
 protected:
  HandshakeCallbacksSim() { client_.set_versions(version(), version()).value(); }

  TlsVersion version() const { return std::get<0>(GetParam()); }

  std::unique_ptr<Conversation> talk() { return world_.talk(server_, client_); }

  // A server that asks for certificates, and a client that has one.
  void show_client_certificate() {
    const Identity& identity = test::identity(KeyType::kEcdsaP256);
    client_.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
    server_.set_verify_mode(VerifyMode::kRequired);
  }

  // From 3.6 on a server of OpenSSL staples only a response about a certificate of its chain, and
  // of its issuer's.
  void show_issued_certificate() {
    test::trust(client_, root_);
    test::show(server_, leaf_, {&root_});
  }

  const test::Issued root_ = test::issue({.common_name = "root", .is_ca = true});
  const test::Issued leaf_ = test::issue({.common_name = "leaf"}, &root_);
  test::CallbackWorld world_{std::get<1>(GetParam())};
  Context client_ = test::client_context();
  Context server_ = test::server_context();
};

TEST_P(HandshakeCallbacksSim, ServersCertificateIsChosen) {
  Context server = Context::create(Role::kServer).value();
  server.on_certificate([&](const ConnectionView& connection) {
    EXPECT_EQ(connection.server_name(), test::kServerName);
    world_.park();
    return credentials(KeyType::kEd25519);
  });
  world_.run([&] { world_.talk(server, client_)->expect_well(); });
  EXPECT_EQ(world_.parks(), 1);
}

// OpenSSL would rather present the context's, and the client trusts only the other.
TEST_P(HandshakeCallbacksSim, ChosenCertificateReplacesAllOfTheContexts) {
  Context server = test::server_context(KeyType::kEcdsaP256);
  server.on_certificate([&](const ConnectionView&) {
    world_.park();
    return credentials(KeyType::kEd25519);
  });
  world_.run([&] { world_.talk(server, client_)->expect_well(); });
}

TEST_P(HandshakeCallbacksSim, ClientsCertificateIsChosen) {
  server_.set_verify_mode(VerifyMode::kRequired);
  server_.add_trusted_certificates(test::bytes(test::identity(KeyType::kEcdsaP256).certificate_pem))
      .value();
  client_.on_certificate([&](const ConnectionView&) {
    world_.park();
    return credentials(KeyType::kEcdsaP256);
  });
  world_.run([&] {
    const auto well = talk();
    well->expect_well();
    EXPECT_EQ(well->server.stream->peer_certificates().front().sha256,
              test::identity(KeyType::kEcdsaP256).sha256);
  });
  EXPECT_EQ(world_.parks(), 1);
}

TEST_P(HandshakeCallbacksSim, NoChoiceOfCertificateLeavesTheContexts) {
  server_.on_certificate([&](const ConnectionView&) {
    world_.park();
    return std::optional<Credentials>();
  });
  world_.run([&] { talk()->expect_well(); });
}

TEST_P(HandshakeCallbacksSim, AlpnProtocolIsChosen) {
  const std::array<std::string_view, 2> protocols = {"h2", "http/1.1"};
  client_.set_alpn_protocols(protocols).value();
  std::optional<std::string> choice = "http/1.1";
  server_
      .on_alpn([&](const ConnectionView&, std::span<const std::string_view> offered) {
        EXPECT_EQ(std::vector(offered.begin(), offered.end()),
                  std::vector(protocols.begin(), protocols.end()));
        world_.park();
        return choice;
      })
      .value();
  world_.run([&] {
    const auto chosen = talk();
    chosen->expect_well();
    EXPECT_EQ(chosen->client.stream->connection_state().alpn, "http/1.1");
    choice.reset();
    const auto without = talk();
    without->expect_well();
    EXPECT_EQ(without->client.stream->connection_state().alpn, "");
    choice = "spdy/3";
    const auto impossible = talk();
    EXPECT_EQ(alert_of(impossible->client), SSL_AD_NO_APPLICATION_PROTOCOL);
    EXPECT_EQ(impossible->server.error->code, Errc::kInvalid) << impossible->server.message();
  });
}

TEST_P(HandshakeCallbacksSim, OcspResponseIsStapledAndSeen) {
  show_issued_certificate();
  const std::string response = test::ocsp_response(leaf_, root_);
  std::string seen;
  server_.on_ocsp_request([&](const ConnectionView& connection) {
    EXPECT_NE(SSL_get_certificate(connection.native_handle()), nullptr);
    world_.park();
    return std::optional(response);
  });
  client_.on_ocsp_response([&](const ConnectionView&, std::string_view der) {
    world_.park();
    seen = der;
    return true;
  });
  world_.run([&] { talk()->expect_well(); });
  EXPECT_EQ(seen, response);
  EXPECT_EQ(world_.parks(), 2);
}

// OpenSSL would send them up to 3.5, and drop them silently from 3.6 on.
TEST_P(HandshakeCallbacksSim, BytesThatAreNoOcspResponseAreNotStapled) {
  client_.on_ocsp_response([&](const ConnectionView&, std::string_view) { return true; });
  const std::string good = test::ocsp_response(leaf_, root_);
  std::string response;
  server_.on_ocsp_request([&](const ConnectionView&) { return std::optional(response); });
  world_.run([&] {
    for (const std::string& bytes : {std::string(), std::string("text"), good + "x"}) {
      response = bytes;
      const auto refused = talk();
      ASSERT_TRUE(refused->server.error);
      EXPECT_EQ(refused->server.error->code, Errc::kInvalid) << refused->server.message();
    }
  });
}

TEST_P(HandshakeCallbacksSim, MissingOcspResponseIsForTheClientToJudge) {
  server_.on_ocsp_request([&](const ConnectionView&) {
    world_.park();
    return std::optional<std::string>();
  });
  bool good = true;
  client_.on_ocsp_response([&](const ConnectionView&, std::string_view der) {
    EXPECT_EQ(der, "");
    world_.park();
    return good;
  });
  world_.run([&] {
    talk()->expect_well();
    good = false;
    const auto refused = talk();
    EXPECT_EQ(refused->client.error->code, Errc::kProtocol) << refused->client.message();
    EXPECT_EQ(alert_of(refused->server), SSL_AD_BAD_CERTIFICATE_STATUS_RESPONSE)
        << refused->server.message();
  });
}

TEST_P(HandshakeCallbacksSim, ClientThatDoesNotAskGetsNoOcspResponse) {
  server_.on_ocsp_request([&](const ConnectionView&) {
    ADD_FAILURE() << "nobody asks";
    return std::optional(test::ocsp_response(leaf_, root_));
  });
  world_.run([&] { talk()->expect_well(); });
}

TEST_P(HandshakeCallbacksSim, VerifyCallbackSeesChainAndVerdictAndAgrees) {
  for (Context* const context : {&client_, &server_}) {
    context->on_verify([&](const ConnectionView&, const PeerChain& chain) {
      world_.park();
      EXPECT_EQ(chain.certificates().size(), 1U);
      const bool ours = chain.certificates().front().sha256 == test::identity().sha256;
      EXPECT_EQ(chain.verdict(), ours ? X509_V_OK : X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
      EXPECT_EQ(chain.depth(), 0);
      return chain.verdict();
    });
  }
  world_.run([&] {
    talk()->expect_well();
    EXPECT_EQ(world_.parks(), 1);
    show_client_certificate();
    const auto untrusted = talk();
    ASSERT_TRUE(untrusted->server.error);
    EXPECT_EQ(untrusted->server.error->code, Errc::kUntrusted) << untrusted->server.message();
    EXPECT_EQ(untrusted->server.error->verify_code, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
    EXPECT_EQ(alert_of(untrusted->client), SSL_AD_UNKNOWN_CA) << untrusted->client.message();
  });
}

TEST_P(HandshakeCallbacksSim, VerifyCallbackMayAcceptWhatOpenSslRefuses) {
  show_client_certificate();
  Context stranger = Context::create(Role::kClient, Trust::kNothing).value();
  stranger.set_versions(version(), version()).value();
  const Identity& identity = test::identity(KeyType::kEcdsaP256);
  stranger.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
  for (Context* const context : {&stranger, &server_}) {
    context->on_verify([&](const ConnectionView&, const PeerChain& chain) {
      world_.park();
      EXPECT_NE(chain.verdict(), X509_V_OK);
      return X509_V_OK;
    });
  }
  world_.run([&] {
    const auto accepted = world_.talk(server_, stranger, {.server_name = "other.test"});
    accepted->expect_well();
    EXPECT_EQ(SSL_get_verify_result(accepted->client.stream->native_handle()), X509_V_OK);
    EXPECT_EQ(SSL_get_verify_result(accepted->server.stream->native_handle()), X509_V_OK);
  });
  EXPECT_EQ(world_.parks(), 2);
}

TEST_P(HandshakeCallbacksSim, VerifyCallbackMayRefuseWhatOpenSslAccepts) {
  client_.on_verify([&](const ConnectionView&, const PeerChain& chain) {
    world_.park();
    EXPECT_EQ(chain.verdict(), X509_V_OK);
    return X509_V_ERR_CERT_REVOKED;
  });
  world_.run([&] {
    const auto refused = talk();
    ASSERT_TRUE(refused->client.error);
    EXPECT_EQ(refused->client.error->code, Errc::kUntrusted) << refused->client.message();
    EXPECT_EQ(refused->client.error->verify_code, X509_V_ERR_CERT_REVOKED);
    EXPECT_EQ(alert_of(refused->server), SSL_AD_CERTIFICATE_REVOKED) << refused->server.message();
  });
}

// A connection may be idle for hours after its handshake, and there may be thousands of those.
TEST_P(HandshakeCallbacksSim, StackOfAHandshakeIsGivenBackWhicheverCallDroveIt) {
  constexpr std::size_t kDeep = std::size_t{48} * 1024;
  std::size_t touched = 0;
  server_.on_certificate([&](const ConnectionView&) {
    std::array<volatile char, kDeep> deep;
    for (volatile char& each : deep) each = 1;
    touched = this_fiber::stack_high_water();
    return std::optional<Credentials>();
  });
  const auto never = Deadline::never();
  std::array<std::byte, 1> one{};
  const std::array<std::function<void(Stream&)>, 4> calls = {
      [&](Stream& stream) { stream.handshake(never).value(); },
      [&](Stream& stream) { (void)stream.read(one, never).value(); },
      [&](Stream& stream) { (void)stream.peek(one, never).value(); },
      [&](Stream& stream) { stream.write("x", never).value(); }};
  for (const auto& call : calls) {
    world_.run([&] {
      const auto talk = world_.open(server_, client_);
      test::together({[&] { talk->client.stream->write("x", never).value(); },
                      [&] {
                        call(*talk->server.stream);
                        EXPECT_GE(touched, kDeep);
                        EXPECT_LT(this_fiber::stack_high_water(), kDeep);
                      }});
    });
  }
}

// Each callback that may refuse: what it throws comes out, what it fails with too, and the peer
// gets an alert.
struct Throwing {
  const char* name;
  bool on_client;
  int alert;
  void (*install)(Context& context, std::function<Error()> fail);
};

class ThrowingCallbackSim
    : public testing::TestWithParam<std::tuple<Throwing, TlsVersion, std::uint64_t>> {};

const Throwing kThrowing[] = {
    {"hello", false, SSL_AD_INTERNAL_ERROR,
     [](Context& context, std::function<Error()> fail) {
       context.on_client_hello([=](const ClientHello&) -> Result<HelloAnswer> { return fail(); });
     }},
    {"certificate", false, SSL_AD_INTERNAL_ERROR,
     [](Context& context, std::function<Error()> fail) {
       context.on_certificate(
           [=](const ConnectionView&) -> Result<std::optional<Credentials>> { return fail(); });
     }},
    {"alpn", false, SSL_AD_NO_APPLICATION_PROTOCOL,
     [](Context& context, std::function<Error()> fail) {
       context
           .on_alpn([=](const ConnectionView&,
                        std::span<const std::string_view>) -> Result<std::optional<std::string>> {
             return fail();
           })
           .value();
     }},
    {"ocsp_request", false, SSL_AD_INTERNAL_ERROR,
     [](Context& context, std::function<Error()> fail) {
       context.on_ocsp_request(
           [=](const ConnectionView&) -> Result<std::optional<std::string>> { return fail(); });
     }},
    {"ocsp_response", true, SSL_AD_INTERNAL_ERROR,
     [](Context& context, std::function<Error()> fail) {
       context.on_ocsp_response(
           [=](const ConnectionView&, std::string_view) -> Result<bool> { return fail(); });
     }},
    {"verify", true, SSL_AD_INTERNAL_ERROR,
     [](Context& context, std::function<Error()> fail) {
       context.on_verify(
           [=](const ConnectionView&, const PeerChain&) -> Result<int> { return fail(); });
     }},
};

TEST_P(ThrowingCallbackSim, ComesOutUnharmedAndThePeerGetsAnAlert) {
  const Throwing& throwing = std::get<0>(GetParam());
  const TlsVersion version = std::get<1>(GetParam());
  test::CallbackWorld world(std::get<2>(GetParam()));
  Context client = test::client_context();
  Context server = test::server_context();
  const std::array<std::string_view, 1> protocols = {"h2"};
  client.set_versions(version, version).value();
  client.set_alpn_protocols(protocols).value();
  client.on_ocsp_response([](const ConnectionView&, std::string_view) { return true; });
  bool thrown = true;
  throwing.install(throwing.on_client ? client : server, [&]() -> Error {
    world.park();
    if (thrown) throw std::runtime_error("the vault is on fire");
    return Error{.code = Errc::kUnreachable, .operation = "ask the vault"}.with("vault.test");
  });
  world.run([&] {
    for (;; thrown = false) {
      const auto talk = world.talk(server, client);
      const Conversation::End& ours = throwing.on_client ? talk->client : talk->server;
      const Conversation::End& theirs = throwing.on_client ? talk->server : talk->client;
      EXPECT_EQ(alert_of(theirs), throwing.alert) << theirs.message();
      if (thrown) {
        EXPECT_EQ(ours.thrown, "the vault is on fire");
        continue;
      }
      ASSERT_TRUE(ours.error);
      EXPECT_EQ(ours.error->code, Errc::kUnreachable) << ours.message();
      EXPECT_STREQ(ours.error->operation, "ask the vault");
      EXPECT_EQ(ours.error->context(), "vault.test");
      EXPECT_TRUE(ours.stream->explain(*ours.error).starts_with("vault.test: "));
      return;
    }
  });
  EXPECT_EQ(world.parks(), 2);
}

std::string version_and_seed(TlsVersion version, std::uint64_t seed) {
  return (version == TlsVersion::kTls12 ? "tls12_seed_" : "tls13_seed_") + std::to_string(seed);
}

constexpr std::array kVersions = {TlsVersion::kTls12, TlsVersion::kTls13};

INSTANTIATE_TEST_SUITE_P(Seeds, HandshakeCallbacksSim,
                         testing::Combine(testing::ValuesIn(kVersions), test::seeds(1, 9)),
                         [](const auto& test) {
                           return version_and_seed(std::get<0>(test.param),
                                                   std::get<1>(test.param));
                         });
INSTANTIATE_TEST_SUITE_P(Seeds, ThrowingCallbackSim,
                         testing::Combine(testing::ValuesIn(kThrowing),
                                          testing::ValuesIn(kVersions), test::seeds(1, 5)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).name) + "_" +
                                  version_and_seed(std::get<1>(test.param),
                                                   std::get<2>(test.param));
                         });

}  // namespace
}  // namespace heddle
