// A certificate that does not verify: which one it was, and that nothing else about verification is
// changed by looking. Clients and servers, both versions.
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "heddle/fiber.h"
#include "heddle/tls/memory_bio.h"
#include "heddle/tls/native.h"
#include "heddle/tls/ssl_object.h"
#include "heddle/tls/stream.h"
#include "heddle/tls/stream_transport.h"

#include "support/chain.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::Issued;
using test::Wanted;

constexpr Deadline kNever = Deadline::never();

const Wanted kRoot = {.common_name = "Root", .is_ca = true};
const Wanted kInter = {.common_name = "Inter", .is_ca = true};
const Wanted kLeaf = {.common_name = "leaf"};

Wanted expired(Wanted wanted) {
  wanted.has_expired = true;
  return wanted;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr Error kInterHasExpired = {.code = Errc::kUntrusted,
                                    .verify_depth = 1,
                                    .verify_code = X509_V_ERR_CERT_HAS_EXPIRED,
                                    .operation = "again"};

// What came of a handshake for the side that verifies.
struct Outcome {
  Result<void> result;
  std::string text;           // explain()
  std::string text_of_inter;  // That of kInterHasExpired.
  std::vector<Certificate> shown;
};

// The second parameter is the side that verifies.
class VerifyFailuresSim : public testing::TestWithParam<std::tuple<TlsVersion, Role>> {
 protected:
  VerifyFailuresSim() {
    server_context_.set_versions(version(), version()).value();
    if (judge() == Role::kServer) {
      judge_context().set_verify_mode(VerifyMode::kRequired);
      client_context_ = test::client_context();
    }
  }

  static TlsVersion version() { return std::get<0>(GetParam()); }
  static Role judge() { return std::get<1>(GetParam()); }
  Context& judge_context() { return judge() == Role::kServer ? server_context_ : client_context_; }
  Context& other_context() { return judge() == Role::kServer ? client_context_ : server_context_; }

  // The one side trusts the root, the other shows the rest.
  void present(const Wanted& root, const Wanted& inter, const Wanted& leaf) {
    root_ = test::issue(root);
    inter_ = test::issue(inter, &root_);
    test::trust(judge_context(), root_);
    test::show(other_context(), test::issue(leaf, &inter_), {&inter_});
  }

  // Makes the two streams and has them talk. `make` makes that of the side that verifies.
  using Make = std::function<Stream(Transport&)>;
  Outcome talk(const Make& make = {}) {
    Outcome outcome;
    sim::World world(1);
    world.run([&] {
      sim::Pipe pipe(world);
      const bool judge_is_server = judge() == Role::kServer;
      const auto usual = [&](Transport& transport, bool is_server) {
        return is_server ? test::server(server_context_, transport)
                         : test::client(client_context_, transport);
      };
      auto judging = make ? make(pipe.a()) : usual(pipe.a(), judge_is_server);
      auto other = usual(pipe.b(), !judge_is_server);
      test::together({[&] {
                        outcome.result = judging.handshake(kNever);
                        (void)judging.close(world.after(Duration(1000)));
                      },
                      [&] {
                        if (other.handshake(kNever)) (void)test::read_some(other);
                        (void)other.close(world.after(Duration(1000)));
                      }});
      if (!outcome.result) outcome.text = judging.explain(outcome.result.error());
      outcome.text_of_inter = judging.explain(kInterHasExpired);
      outcome.shown = judging.peer_certificates();
      EXPECT_EQ(judging.explain(kOfAnother), kOfAnother.message());
    });
    return outcome;
  }

  // A stream of an SSL that other code has made and `prepare` has configured.
  Outcome talk_adopted(const std::function<void(SSL*)>& prepare) {
    return talk([&](Transport& transport) {
      StreamOptions options;
      if (judge() == Role::kClient) options.server_name = test::kServerName;
      NakedConnection naked = NakedConnection::create(judge_context(), options).value();
      prepare(naked.ssl.get());
      return Stream::adopt(std::move(naked), transport).value();
    });
  }

  static void expect_inter_has_expired(const Outcome& outcome) {
    ASSERT_FALSE(outcome.result);
    const Error& error = outcome.result.error();
    EXPECT_EQ(error.code, Errc::kUntrusted);
    EXPECT_EQ(error.verify_code, X509_V_ERR_CERT_HAS_EXPIRED);
    EXPECT_EQ(error.verify_depth, 1);
    EXPECT_TRUE(contains(outcome.text, ": certificate 1, CN=Inter, has expired (10)"))
        << outcome.text;
    EXPECT_TRUE(contains(error.message(), ": certificate 1 has expired (10)")) << error.message();
    ASSERT_EQ(outcome.shown.size(), 2U);
    EXPECT_EQ(outcome.shown[0].subject, "CN=leaf");
    EXPECT_EQ(outcome.shown[1].subject, "CN=Inter");
  }

  static constexpr Error kOfAnother = {.code = Errc::kUntrusted,
                                       .verify_depth = 3,
                                       .verify_code = X509_V_ERR_CERT_REVOKED,
                                       .operation = "another"};

  Context server_context_ = test::server_context();
  Context client_context_ = Context::create(Role::kClient, Trust::kNothing).value();
  Issued root_;
  Issued inter_;
};

TEST_P(VerifyFailuresSim, CertificateInBetweenIsNamed) {
  present(kRoot, expired(kInter), kLeaf);
  expect_inter_has_expired(talk());
}

TEST_P(VerifyFailuresSim, PeersOwnCertificateIsTheOneAtDepthZero) {
  present(kRoot, kInter, expired(kLeaf));
  const Outcome outcome = talk();
  ASSERT_FALSE(outcome.result);
  EXPECT_EQ(outcome.result.error().verify_depth, 0);
  EXPECT_TRUE(contains(outcome.text, "certificate 0, CN=leaf, has expired (10)")) << outcome.text;
}

TEST_P(VerifyFailuresSim, RootThatThePeerDidNotSendIsNamed) {
  present(expired(kRoot), kInter, kLeaf);
  const Outcome outcome = talk();
  ASSERT_FALSE(outcome.result);
  EXPECT_EQ(outcome.result.error().verify_depth, 2);
  EXPECT_TRUE(contains(outcome.text, "certificate 2, CN=Root, has expired (10)")) << outcome.text;
  EXPECT_EQ(outcome.shown.size(), 2U);
}

TEST_P(VerifyFailuresSim, SubjectIsShownWithoutWhatDeceivesAndOnlyItsBeginning) {
  Wanted inter = expired(kInter);
  inter.common_name = "Evil\n\x1b[2J\u202e\u2066\u200f\u061c\u0085" + std::string(5000, 'x');
  present(kRoot, inter, kLeaf);
  const Outcome outcome = talk();
  const char* const shown =
      "CN=Evil\\0A\\1B[2J\\E2\\80\\AE\\E2\\81\\A6\\E2\\80\\8F\\D8\\9C\\C2\\85xxx";
  EXPECT_TRUE(contains(outcome.text, shown)) << outcome.text;
  EXPECT_TRUE(contains(outcome.shown.at(1).subject, shown));
  EXPECT_LT(outcome.text.size(), 320U);
  for (const char c : outcome.text) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
}

TEST_P(VerifyFailuresSim, ProgramThatAgreesLeavesTheCertificateNamed) {
  present(kRoot, expired(kInter), kLeaf);
  judge_context().on_verify(
      [](const ConnectionView&, const PeerChain& chain) -> Result<int> { return chain.verdict(); });
  expect_inter_has_expired(talk());
}

TEST_P(VerifyFailuresSim, VerdictOfTheProgramsOwnNamesNone) {
  for (const bool openssl_objects : {false, true}) {
    present(kRoot, openssl_objects ? expired(kInter) : kInter, kLeaf);
    judge_context().on_verify([](const ConnectionView&, const PeerChain&) -> Result<int> {
      return X509_V_ERR_CERT_REVOKED;
    });
    const Outcome outcome = talk();
    ASSERT_FALSE(outcome.result);
    EXPECT_EQ(outcome.result.error().verify_code, X509_V_ERR_CERT_REVOKED);
    EXPECT_EQ(outcome.result.error().verify_depth, -1);
    EXPECT_EQ(outcome.text, outcome.result.error().message());
    EXPECT_EQ(outcome.shown.size(), 2U);
  }
}

// As programs do that wrap X509_verify_cert(3) for the SSL_CTX themselves.
TEST_P(VerifyFailuresSim, VerdictThatOtherCodeExchangesNamesNone) {
  present(kRoot, expired(kInter), kLeaf);
  const auto exchange = [](X509_STORE_CTX* store, void* /*argument*/) {
    (void)X509_verify_cert(store);
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REVOKED);
    return 0;
  };
  SSL_CTX_set_cert_verify_callback(judge_context().native_handle(), exchange, nullptr);
  const Outcome outcome = talk();
  ASSERT_FALSE(outcome.result);
  EXPECT_EQ(outcome.result.error().verify_code, X509_V_ERR_CERT_REVOKED);
  EXPECT_EQ(outcome.result.error().verify_depth, -1);
  EXPECT_EQ(outcome.text, outcome.result.error().message());
}

TEST_P(VerifyFailuresSim, WhatTheProgramOverrulesIsForgotten) {
  present(kRoot, expired(kInter), kLeaf);
  judge_context().on_verify(
      [](const ConnectionView&, const PeerChain&) -> Result<int> { return X509_V_OK; });
  const Outcome outcome = talk();
  EXPECT_TRUE(outcome.result);
  EXPECT_EQ(outcome.text_of_inter, kInterHasExpired.message());
}

int overrule(int /*accepted*/, X509_STORE_CTX* /*store*/) {
  return 1;
}

int agree(int accepted, X509_STORE_CTX* /*store*/) {
  return accepted;
}

int object_to_root(int accepted, X509_STORE_CTX* store) {
  if (X509_STORE_CTX_get_error_depth(store) != 2) return accepted;
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

void expect_objection_to_root(const Outcome& outcome) {
  ASSERT_FALSE(outcome.result);
  EXPECT_EQ(outcome.result.error().verify_code, X509_V_ERR_APPLICATION_VERIFICATION);
  EXPECT_EQ(outcome.result.error().verify_depth, 2);
  EXPECT_TRUE(contains(outcome.text, "certificate 2, CN=Root: ")) << outcome.text;
}

TEST_P(VerifyFailuresSim, VerifyCallbackOfAnAdoptedSslDecidesAsBefore) {
  const auto with = [this](SSL_verify_cb callback) {
    return talk_adopted([&](SSL* ssl) { SSL_set_verify(ssl, SSL_get_verify_mode(ssl), callback); });
  };
  present(kRoot, kInter, kLeaf);
  EXPECT_TRUE(with(agree).result);
  expect_objection_to_root(with(object_to_root));
  present(kRoot, expired(kInter), kLeaf);
  EXPECT_TRUE(with(overrule).result);
  expect_inter_has_expired(with(agree));
}

// OpenSSL does not call it if the SSL has one, and ours is one.
TEST_P(VerifyFailuresSim, VerifyCallbackOfTheStoreDecidesAsBefore) {
  X509_STORE* const store = SSL_CTX_get_cert_store(judge_context().native_handle());
  present(kRoot, kInter, kLeaf);
  X509_STORE_set_verify_cb(store, object_to_root);
  expect_objection_to_root(talk());
  present(kRoot, expired(kInter), kLeaf);
  X509_STORE_set_verify_cb(store, overrule);
  EXPECT_TRUE(talk().result);
}

TEST_P(VerifyFailuresSim, PeerThatNeedNotVerifyLeavesNothing) {
  if (judge() == Role::kServer) return;  // It does not ask for a certificate then.
  present(kRoot, expired(kInter), kLeaf);
  judge_context().set_verify_mode(VerifyMode::kNone);
  judge_context().set_check_hostname(false);
  const Outcome outcome = talk();
  EXPECT_TRUE(outcome.result);
  EXPECT_EQ(outcome.text_of_inter, kInterHasExpired.message());
}

TEST_P(VerifyFailuresSim, CertificateThatBreaksRfc5280IsRefusedOnlyIfStrict) {
  Wanted sloppy = kLeaf;
  sloppy.is_strict = false;
  present(kRoot, kInter, sloppy);
  EXPECT_TRUE(judge_context().strict());
  const Outcome outcome = talk();
  ASSERT_FALSE(outcome.result);
  EXPECT_EQ(outcome.result.error().verify_code, X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER);
  EXPECT_EQ(outcome.result.error().verify_depth, 0);
  judge_context().set_strict(false);
  EXPECT_FALSE(judge_context().strict());
  EXPECT_TRUE(talk().result);
  judge_context().set_strict(true);
  EXPECT_FALSE(talk().result);
}

TEST_P(VerifyFailuresSim, TlsWithoutIoNamesTheCertificate) {
  present(kRoot, expired(kInter), kLeaf);
  MemoryBio to_client;
  MemoryBio to_server;
  auto client =
      SslObject::create(client_context_, to_client, to_server, {.server_name = test::kServerName})
          .value();
  auto server = SslObject::create(server_context_, to_server, to_client).value();
  SslObject& judging = judge() == Role::kServer ? server : client;
  Result<Progress> judged = Progress{};
  for (int turn = 0; turn < 10 && judged; ++turn) {
    const auto one = client.handshake();
    const auto other = server.handshake();
    judged = judge() == Role::kServer ? other : one;
  }
  ASSERT_FALSE(judged);
  expect_inter_has_expired({.result = judged.error(),
                            .text = judging.explain(judged.error()),
                            .text_of_inter = "",
                            .shown = judging.peer_certificates()});
}

// The stream below fails within a wait of the one above.
TEST_P(VerifyFailuresSim, TlsInTlsNamesTheCertificateOfTheConnectionThatFailed) {
  if (judge() == Role::kServer) return;
  present(kRoot, expired(kInter), kLeaf);
  sim::World world(1);
  world.run([&] {
    sim::Pipe pipe(world);
    const Context above = test::client_context();
    auto server = test::server(server_context_, pipe.b());
    auto client = Stream::create(above, StreamTransport(test::client(client_context_, pipe.a())),
                                 {.server_name = test::kServerName})
                      .value();
    Result<void> done;
    test::together({[&] {
                      done = client.handshake(kNever);
                      (void)client.close(world.after(Duration(1000)));
                    },
                    [&] {
                      if (server.handshake(kNever)) (void)test::read_some(server);
                      (void)server.close(world.after(Duration(1000)));
                    }});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().verify_depth, 1);
    const std::string text = client.explain(done.error());
    EXPECT_TRUE(contains(text, "certificate 1, CN=Inter, has expired")) << text;
  });
}

TEST_P(VerifyFailuresSim, ContextThatAHelloCallbackChoosesDecidesHow) {
  if (judge() == Role::kClient) return;
  Wanted sloppy = kLeaf;
  sloppy.is_strict = false;
  present(kRoot, kInter, sloppy);
  SSL_CTX_set_verify(server_context_.native_handle(), SSL_VERIFY_PEER, overrule);
  Context chosen = test::server_context();
  chosen.set_versions(version(), version()).value();
  chosen.set_verify_mode(VerifyMode::kRequired);
  test::trust(chosen, root_);
  server_context_.on_client_hello(
      [&](const ClientHello&) -> Result<HelloAnswer> { return HelloAnswer::use(chosen); });
  const Outcome strict = talk();
  ASSERT_FALSE(strict.result) << "not with the callback of the first context";
  EXPECT_EQ(strict.result.error().verify_code, X509_V_ERR_MISSING_AUTHORITY_KEY_IDENTIFIER);
  EXPECT_TRUE(contains(strict.text, "CN=leaf")) << strict.text;
  SSL_CTX_set_verify(server_context_.native_handle(), SSL_VERIFY_PEER, agree);
  chosen.set_strict(false);
  EXPECT_TRUE(talk().result);
  SSL_CTX_set_verify(chosen.native_handle(), SSL_VERIFY_PEER, object_to_root);
  expect_objection_to_root(talk());
}

INSTANTIATE_TEST_SUITE_P(Versions, VerifyFailuresSim,
                         testing::Combine(testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                                          testing::Values(Role::kClient, Role::kServer)),
                         [](const auto& made) {
                           return std::string(std::get<0>(made.param) == TlsVersion::kTls12
                                                  ? "Tls12"
                                                  : "Tls13") +
                                  (std::get<1>(made.param) == Role::kServer ? "Server" : "Client");
                         });

}  // namespace
}  // namespace heddle
