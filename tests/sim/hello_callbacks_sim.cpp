// Servers that choose by the client's hello, in callbacks that park.
#include <algorithm>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "heddle/tls/callbacks.h"

#include "support/callback_world.h"
#include "support/chain.h"
#include "support/seeds.h"

namespace heddle {
namespace {

using std::chrono::seconds;
using test::Conversation;

const Identity& named(const std::string& name) {
  static std::map<std::string, Identity> made;
  const auto found = made.find(name);
  if (found != made.end()) return found->second;
  return made.emplace(name, make_self_signed({name}, KeyType::kEd25519).value()).first->second;
}

Context serving(const std::string& name) {
  Context context = Context::create(Role::kServer).value();
  context.use_cert_chain(named(name).certificate_pem, named(name).key_pem).value();
  return context;
}

// OpenSSL's reason for an alert that has come.
int alert_of(const Conversation::End& end) {
  return end.error ? ERR_GET_REASON(end.error->openssl_code) - SSL_AD_REASON_OFFSET : -1;
}

class HelloCallbacksSim : public testing::TestWithParam<std::tuple<TlsVersion, std::uint64_t>> {
 protected:
  HelloCallbacksSim() {
    client_.set_versions(version(), version()).value();
    for (const char* const name : {"one.test", "two.test"}) {
      client_.add_trusted_certificates(test::bytes(named(name).certificate_pem)).value();
    }
  }

  TlsVersion version() const { return std::get<0>(GetParam()); }

  std::unique_ptr<Conversation> ask_for(const std::string& name) {
    return world_.talk(server_, client_, {.server_name = name});
  }

  test::CallbackWorld world_{std::get<1>(GetParam())};
  Context client_ = test::client_context();
  Context server_ = test::server_context();
};

TEST_P(HelloCallbacksSim, ServerNameChoosesTheContext) {
  const Context one = serving("one.test");
  const Context two = serving("two.test");
  server_.on_server_name([&](const ClientHello& hello) {
    world_.park();
    if (hello.server_name() == "one.test") return HelloAnswer::use(one);
    if (hello.server_name() == "two.test") return HelloAnswer::use(two);
    return HelloAnswer::go_on();
  });
  world_.run([&] {
    for (const std::string name : {"one.test", "two.test", test::kServerName}) {
      const auto talk = ask_for(name);
      talk->expect_well();
      EXPECT_EQ(talk->server.stream->connection_state().server_name, name);
      const std::string& expected =
          name == test::kServerName ? test::identity().sha256 : named(name).sha256;
      EXPECT_EQ(talk->client.stream->peer_certificates().front().sha256, expected);
    }
  });
  EXPECT_EQ(world_.parks(), 3);
}

TEST_P(HelloCallbacksSim, RefusedNameGetsTheAlert) {
  server_.on_server_name([&](const ClientHello&) {
    world_.park();
    return HelloAnswer::refuse(Alert::kUnrecognizedName);
  });
  world_.run([&] {
    const auto talk = ask_for("one.test");
    EXPECT_EQ(alert_of(talk->client), SSL_AD_UNRECOGNIZED_NAME) << talk->client.message();
    ASSERT_TRUE(talk->server.error);
    EXPECT_EQ(talk->server.error->code, Errc::kProtocol);
    EXPECT_STREQ(talk->server.error->detail, "a callback has refused it");
  });
}

TEST_P(HelloCallbacksSim, RemovedCallbacksAreNotAskedAnyMore) {
  const auto refuse = [](const ClientHello&) {
    return HelloAnswer::refuse(Alert::kUnrecognizedName);
  };
  server_.on_server_name(refuse);
  server_.on_client_hello(refuse);
  world_.run([&] { EXPECT_FALSE(ask_for(test::kServerName)->client.well()); });
  server_.on_server_name({});
  server_.on_client_hello({});
  world_.run([&] { ask_for(test::kServerName)->expect_well(); });
}

TEST_P(HelloCallbacksSim, ClientWithoutANameGoesOn) {
  int hellos = 0;
  server_.on_client_hello([&](const ClientHello& hello) {
    world_.park();
    EXPECT_EQ(hello.server_name(), "");
    ++hellos;
    return HelloAnswer::go_on();
  });
  server_.on_server_name([&](const ClientHello&) {
    ADD_FAILURE() << "there is no name";
    return HelloAnswer::refuse(Alert::kUnrecognizedName);
  });
  client_.set_check_hostname(false);
  world_.run([&] { ask_for("")->expect_well(); });
  EXPECT_EQ(hellos, 1);
}

TEST_P(HelloCallbacksSim, HelloIsSeenBeforeTheNameAndMayDecideAlone) {
  const Context one = serving("one.test");
  server_.on_client_hello([&](const ClientHello& hello) {
    world_.park();
    return hello.server_name() == "one.test" ? HelloAnswer::use(one) : HelloAnswer::go_on();
  });
  server_.on_server_name([&](const ClientHello& hello) {
    EXPECT_NE(hello.server_name(), "one.test");
    return HelloAnswer::refuse(Alert::kAccessDenied);
  });
  world_.run([&] {
    ask_for("one.test")->expect_well();
    EXPECT_EQ(alert_of(ask_for("two.test")->client), SSL_AD_ACCESS_DENIED);
  });
}

TEST_P(HelloCallbacksSim, HelloShowsWhatTheClientOffers) {
  const std::array<std::string_view, 2> protocols = {"h2", "http/1.1"};
  client_.set_alpn_protocols(protocols).value();
  client_.set_groups("X25519:P-256").value();
  client_.set_ciphersuites("TLS_CHACHA20_POLY1305_SHA256").value();
  client_.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256").value();
  server_.on_client_hello([&](const ClientHello& hello) {
    const auto has = [](const auto& all, auto wanted) {
      return std::find(all.begin(), all.end(), wanted) != all.end();
    };
    const bool tls13 = version() == TlsVersion::kTls13;
    EXPECT_EQ(hello.server_name(), test::kServerName);
    EXPECT_EQ(hello.versions().front(), tls13 ? 0x0304 : 0x0303);
    EXPECT_EQ(hello.ciphers().front(), tls13 ? 0x1303 : 0xc02b);
    EXPECT_EQ(hello.groups(), (std::vector<std::uint16_t>{29, 23}));
    EXPECT_TRUE(has(hello.signature_algorithms(), 0x0807)) << "Ed25519";
    EXPECT_EQ(hello.alpn(), (std::vector<std::string_view>{"h2", "http/1.1"}));
    EXPECT_TRUE(hello.extension(TLSEXT_TYPE_supported_groups));
    EXPECT_FALSE(hello.extension(0xffee));
    return HelloAnswer::go_on();
  });
  world_.run([&] { (void)ask_for(test::kServerName); });
}

TEST_P(HelloCallbacksSim, ChosenContextBringsItsVerifyModeAlpnAndVersions) {
  Context strict = serving("one.test");
  strict.set_verify_mode(VerifyMode::kRequired);
  strict.add_trusted_certificates(test::bytes(named("two.test").certificate_pem)).value();
  const std::array<std::string_view, 1> protocols = {"strict"};
  strict.set_alpn_protocols(protocols).value();
  Context other_version = serving("two.test");
  const bool tls13 = version() == TlsVersion::kTls13;
  const TlsVersion other = tls13 ? TlsVersion::kTls12 : TlsVersion::kTls13;
  other_version.set_versions(other, other).value();
  server_.on_server_name([&](const ClientHello& hello) {
    world_.park();
    return HelloAnswer::use(hello.server_name() == "one.test" ? strict : other_version);
  });
  client_.set_alpn_protocols(protocols).value();
  world_.run([&] {
    EXPECT_FALSE(ask_for("one.test")->server.well()) << "the client shows no certificate";
    EXPECT_EQ(alert_of(ask_for("two.test")->client), SSL_AD_PROTOCOL_VERSION);
    client_.use_cert_chain(named("two.test").certificate_pem, named("two.test").key_pem).value();
    const auto talk = ask_for("one.test");
    talk->expect_well();
    EXPECT_EQ(talk->server.stream->peer_certificates().size(), 1U);
    EXPECT_EQ(talk->server.stream->connection_state().alpn, "strict");
  });
}

TEST_P(HelloCallbacksSim, ChosenContextBringsItsVerifyParameters) {
  Context strict = serving("one.test");
  strict.set_verify_mode(VerifyMode::kRequired);
  // From 3.6 on OpenSSL asks for no CRL about a certificate that is itself trusted.
  const test::Issued root = test::issue({.common_name = "root", .is_ca = true});
  const test::Issued leaf = test::issue({.common_name = "leaf"}, &root);
  test::trust(strict, root);
  test::show(client_, leaf, {});
  strict.set_crl_check(CrlCheck::kLeaf);
  server_.on_server_name([&](const ClientHello&) { return HelloAnswer::use(strict); });
  world_.run([&] {
    const auto talk = ask_for("one.test");
    ASSERT_TRUE(talk->server.error);
    EXPECT_EQ(talk->server.error->verify_code, X509_V_ERR_UNABLE_TO_GET_CRL);
  });
}

TEST_P(HelloCallbacksSim, ChosenContextBringsItsPreSharedKeys) {
  const Psk key{.identity = "me", .key = std::string(32, 'k')};
  Context chosen = Context::create(Role::kServer).value();
  chosen.on_psk_server([&](const ConnectionView&, std::string_view) {
    world_.park();
    return std::optional(key);
  });
  server_.on_server_name([&](const ClientHello&) { return HelloAnswer::use(chosen); });
  client_.on_psk_client(
      [&](const ConnectionView&, std::string_view) { return std::optional(key); });
  world_.run([&] {
    const auto talk = ask_for("one.test");
    talk->expect_well();
    EXPECT_TRUE(talk->client.stream->peer_certificates().empty());
  });
}

// What a cut connection is then: native_test.
TEST_P(HelloCallbacksSim, ChosenContextDoesNotMakeTruncationAnEnd) {
  const Context one = serving("one.test");
  SSL_CTX_set_options(one.native_handle(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  server_.on_server_name([&](const ClientHello&) { return HelloAnswer::use(one); });
  world_.run([&] {
    const auto talk = ask_for("one.test");
    talk->expect_well();
    SSL* const ssl = talk->server.stream->native_handle();
    ASSERT_EQ(SSL_get_SSL_CTX(ssl), one.native_handle());
    EXPECT_EQ(SSL_get_options(ssl) & SSL_OP_IGNORE_UNEXPECTED_EOF, 0U);
  });
}

TEST_P(HelloCallbacksSim, ChosenContextMayGoAtOnce) {
  const std::array<std::string_view, 1> protocols = {"short-lived"};
  client_.set_alpn_protocols(protocols).value();
  server_.on_server_name([&](const ClientHello&) {
    Context made = serving("one.test");
    made.set_alpn_protocols(protocols).value();
    world_.park();
    return HelloAnswer::use(made);
  });
  world_.run([&] {
    const auto talk = ask_for("one.test");
    talk->expect_well();
    EXPECT_EQ(talk->client.stream->connection_state().alpn, "short-lived");
  });
}

// Or a client that may resume at one name what it was allowed at another.
TEST_P(HelloCallbacksSim, SessionOfOneNameIsNotResumedUnderAnother) {
  const Context one = serving("one.test");
  const Context two = serving("two.test");
  server_.on_server_name([&](const ClientHello& hello) {
    return HelloAnswer::use(hello.server_name() == "one.test" ? one : two);
  });
  world_.run([&] {
    const Session session = ask_for("one.test")->client.stream->session().value();
    ASSERT_TRUE(session.is_resumable());
    for (const std::string name : {"two.test", "one.test"}) {
      // Heddle's client would refuse to offer it.
      auto talk = world_.open(server_, client_, {.server_name = name});
      ASSERT_EQ(SSL_set_session(talk->client.stream->native_handle(), session.native_handle()), 1);
      world_.converse(*talk);
      talk->expect_well();
      EXPECT_EQ(talk->server.stream->connection_state().resumed, name == "one.test");
    }
  });
}

// Sessions and tickets belong to the context of the Stream, whatever was chosen.
TEST_P(HelloCallbacksSim, SessionsOfChosenContextsAreInTheStoreOfTheFirst) {
  std::map<std::string, std::string> stored;
  server_
      .set_session_store({.put =
                              [&](const ConnectionView&, const Session& session) {
                                world_.park();
                                stored[session.id()] = session.serialise();
                                return Result<void>();
                              },
                          .get =
                              [&](const ConnectionView&, std::string_view id) {
                                world_.park();
                                const auto found = stored.find(std::string(id));
                                return found == stored.end()
                                           ? std::nullopt
                                           : std::optional(Session::parse(found->second).value());
                              },
                          .remove = {}})
      .value();
  const Context one = serving("one.test");
  server_.on_server_name([&](const ClientHello&) { return HelloAnswer::use(one); });
  world_.run([&] {
    const auto first = ask_for("one.test");
    first->expect_well();
    EXPECT_FALSE(stored.empty());
    const auto second = world_.talk(
        server_, client_, {.server_name = "one.test", .session = first->client.stream->session()});
    second->expect_well();
    EXPECT_TRUE(second->server.stream->connection_state().resumed);
  });
}

TEST_P(HelloCallbacksSim, WhatTheCallbackThrowsComesOutUnharmed) {
  server_.on_server_name([&](const ClientHello&) -> HelloAnswer {
    world_.park();
    throw std::runtime_error("no such vault");
  });
  world_.run([&] {
    const auto talk = ask_for("one.test");
    EXPECT_EQ(talk->server.thrown, "no such vault");
    EXPECT_EQ(alert_of(talk->client), SSL_AD_INTERNAL_ERROR) << talk->client.message();
  });
}

TEST_P(HelloCallbacksSim, ErrorOfTheCallbackIsTheHandshakes) {
  server_.on_server_name([&](const ClientHello&) -> Result<HelloAnswer> {
    world_.park();
    return Error{.code = Errc::kUnreachable, .sys_errno = ENETDOWN, .operation = "ask the vault"};
  });
  world_.run([&] {
    const auto talk = ask_for("one.test");
    ASSERT_TRUE(talk->server.error);
    EXPECT_EQ(talk->server.error->code, Errc::kUnreachable);
    EXPECT_EQ(talk->server.error->sys_errno, ENETDOWN);
    EXPECT_STREQ(talk->server.error->operation, "ask the vault");
    EXPECT_EQ(alert_of(talk->client), SSL_AD_INTERNAL_ERROR) << talk->client.message();
  });
}

TEST_P(HelloCallbacksSim, CallbackKnowsTheDeadlineAndMayNotUseItsOwnStream) {
  std::unique_ptr<Conversation> talk;
  Deadline deadline = Deadline::never();
  server_.on_server_name([&](const ClientHello& hello) {
    EXPECT_EQ(hello.deadline(), deadline);
    EXPECT_EQ(hello.native_handle(), talk->server.stream->native_handle());
    std::array<std::byte, 1> byte{};
    EXPECT_EQ(talk->server.stream->read(byte, deadline).error().code, Errc::kInvalid);
    return HelloAnswer::go_on();
  });
  world_.run([&] {
    talk = world_.open(server_, client_);
    deadline = world_.world().after(seconds(30));
    scope([&](Scope& fibers) {
      ASSERT_TRUE(
          fibers.spawn("client", [&] { (void)talk->client.stream->handshake(Deadline::never()); }));
      EXPECT_TRUE(talk->server.stream->handshake(deadline));
    });
  });
}

// The client has to say hello twice.
class RetriedHelloSim : public HelloCallbacksSim {
 protected:
  RetriedHelloSim() {
    server_.set_groups("P-384").value();
    client_.set_groups("X25519:P-384").value();
    server_.on_server_name([this](const ClientHello&) {
      world_.park();
      return HelloAnswer::use(one_);
    });
  }

  Context one_ = serving("one.test");
};

TEST_P(RetriedHelloSim, CallbackIsCalledOnce) {
  world_.run([&] {
    const auto talk = ask_for("one.test");
    talk->expect_well();
    EXPECT_EQ(talk->client.stream->connection_state().group, "secp384r1");
  });
  EXPECT_EQ(world_.parks(), 1);
}

// The one with the callback, and the one that it chose.
TEST_P(RetriedHelloSim, BothContextsMayGoBeforeTheSecondHello) {
  server_.on_server_name([this](const ClientHello&) {
    world_.park();
    return HelloAnswer::use(serving("one.test"));
  });
  world_.run([&] {
    auto talk = world_.open(server_, client_, {.server_name = "one.test"});
    server_ = serving("two.test");
    world_.converse(*talk);
    talk->expect_well();
    EXPECT_EQ(talk->client.stream->connection_state().group, "secp384r1") << "asked for twice";
    EXPECT_EQ(talk->client.stream->peer_certificates().front().sha256, named("one.test").sha256);
  });
  EXPECT_EQ(world_.parks(), 1);
}

// Also where the context with the callback stays, and so sees the second hello.
TEST_P(RetriedHelloSim, CallbackThatGoesOnIsCalledOnce) {
  server_.on_server_name([this](const ClientHello&) {
    world_.park();
    return HelloAnswer::go_on();
  });
  world_.run([&] { ask_for(test::kServerName)->expect_well(); });
  EXPECT_EQ(world_.parks(), 1);
}

// It asks for another name when it is asked to say hello again.
void rename(int sent, int /*version*/, int type, const void* bytes, std::size_t /*size*/, SSL* ssl,
            void* /*argument*/) {
  const bool server_hello = sent == 0 && type == SSL3_RT_HANDSHAKE &&
                            *static_cast<const unsigned char*>(bytes) == SSL3_MT_SERVER_HELLO;
  if (!server_hello) return;
  ASSERT_EQ(SSL_set_tlsext_host_name(ssl, "two.test"), 1);
}

TEST_P(RetriedHelloSim, AnotherNameInTheSecondHelloIsRefused) {
  world_.run([&] {
    auto talk = world_.open(server_, client_, {.server_name = "one.test"});
    SSL_set_msg_callback(talk->client.stream->native_handle(), rename);
    world_.converse(*talk);
    EXPECT_EQ(alert_of(talk->client), SSL_AD_ILLEGAL_PARAMETER) << talk->client.message();
    EXPECT_FALSE(talk->server.well());
  });
}

// Parking there would suspend the job, which is the thread's, with the fiber.
TEST(HelloCallbacksDeathTest, ParkingInAnAsyncJobNamesTheCallback) {
  test::CallbackWorld world(1);
  const Context client = test::client_context();
  Context server = test::server_context();
  server.on_server_name([&](const ClientHello&) {
    world.park();
    return HelloAnswer::go_on();
  });
  const auto handshake_in_a_job = [&] {
    auto talk = world.open(server, client);
    SSL_set_mode(talk->server.stream->native_handle(), SSL_MODE_ASYNC);
    world.converse(*talk);
  };
  EXPECT_DEATH(world.run(handshake_in_a_job),
               "it parks inside the client hello or server name callback, in an ASYNC "
               "job of OpenSSL");
}

std::string case_name(const testing::TestParamInfo<HelloCallbacksSim::ParamType>& test) {
  return (std::get<0>(test.param) == TlsVersion::kTls12 ? "tls12_seed_" : "tls13_seed_") +
         std::to_string(std::get<1>(test.param));
}

auto seeds() {
  return test::seeds(1, 9);
}

INSTANTIATE_TEST_SUITE_P(Seeds, HelloCallbacksSim,
                         testing::Combine(testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                                          seeds()),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Seeds, RetriedHelloSim,
                         testing::Combine(testing::Values(TlsVersion::kTls13), seeds()), case_name);

}  // namespace
}  // namespace heddle
