// Sessions resume only where a full handshake would have been accepted.
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "heddle/tls/session.h"

#include "openssl/handles.h"
#include "support/callback_world.h"

namespace heddle {
namespace {

using test::Conversation;

enum class Sharing : std::uint8_t { kTicketKeys, kStore };

constexpr KeyType kClientKey = KeyType::kEcdsaP256;

void trust(Context& context, KeyType type) {
  context.add_trusted_certificates(test::bytes(test::identity(type).certificate_pem)).value();
}

void show(Context& context, KeyType type) {
  const Identity& identity = test::identity(type);
  context.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
}

X509* peer_of(const Session& session) {
  return SSL_SESSION_get0_peer(session.native_handle());
}

void let_expire(X509* certificate) {
  X509_gmtime_adj(X509_getm_notAfter(certificate), -60);
}

using Parameter = std::tuple<TlsVersion, Sharing, std::uint64_t>;

class SessionRightsSim : public testing::TestWithParam<Parameter> {
 protected:
  SessionRightsSim() {
    for (Context* const client : {&client_, &stranger_}) {
      client->set_versions(version(), version()).value();
    }
    show(client_, kClientKey);
  }

  TlsVersion version() const { return std::get<0>(GetParam()); }

  // One of several processes: what they make of it is up to the caller.
  Context server() {
    Context context = test::server_context();
    if (std::get<1>(GetParam()) == Sharing::kTicketKeys) {
      context.set_ticket_keys(keys_).value();
    } else {
      context.set_session_store(store()).value();
    }
    return context;
  }
  // That wants to see client_'s certificate.
  Context strict_server() {
    Context context = server();
    trust(context, kClientKey);
    context.set_verify_mode(VerifyMode::kRequired);
    return context;
  }

  SessionStore store() {
    return {.put =
                [this](const ConnectionView&, const Session& session) {
                  stored_[session.id()] = session.serialise();
                  return Result<void>();
                },
            .get = [this](const ConnectionView&, std::string_view id) -> std::optional<Session> {
              const auto found = stored_.find(std::string(id));
              if (found == stored_.end()) return std::nullopt;
              Session session = Session::parse(found->second).value();
              if (expired_) let_expire(peer_of(session));
              return session;
            },
            .remove = nullptr};
  }

  // A session that `client` made with `server`.
  Session session_of(const Context& server, const Context& client) {
    const auto talk = world_.talk(server, client);
    talk->expect_well();
    return talk->client.stream->session().value();
  }
  std::unique_ptr<Conversation> resume(const Context& server, const Context& client,
                                       const Session& session) {
    return world_.talk(server, client, {.server_name = test::kServerName, .session = session});
  }

  test::CallbackWorld world_{std::get<2>(GetParam())};
  Context client_ = test::client_context();
  Context stranger_ = test::client_context();  // Has no certificate.
  std::vector<TicketKey> keys_ = {TicketKey::generate().value()};
  std::map<std::string, std::string> stored_;
  bool expired_ = false;
};

TEST_P(SessionRightsSim, ServersThatVerifyAlikeResumeEachOthersSessions) {
  const Context one = strict_server();
  const Context other = strict_server();
  world_.run([&] {
    const auto resumed = resume(other, client_, session_of(one, client_));
    resumed->expect_well();
    EXPECT_TRUE(resumed->server.stream->connection_state().resumed);
    EXPECT_EQ(resumed->server.stream->peer_certificates().size(), 1U);
  });
}

TEST_P(SessionRightsSim, WhoWasNotAskedForACertificateIsAskedByWhoRequiresOne) {
  const Context open = server();
  Context optional = strict_server();
  optional.set_verify_mode(VerifyMode::kOptional);
  const Context strict = strict_server();
  world_.run([&] {
    for (const Context* const lax : {&open, static_cast<const Context*>(&optional)}) {
      const auto refused = resume(strict, stranger_, session_of(*lax, stranger_));
      ASSERT_TRUE(refused->server.error);
      EXPECT_EQ(refused->server.error->code, Errc::kProtocol) << refused->server.message();
      EXPECT_FALSE(refused->server.stream->connection_state().resumed);
    }
  });
}

// What may differ between the server that made a session and the one that gets it.
struct Difference {
  const char* name;
  void (*make)(Context& context);
};

openssl::Handle<X509_CRL, X509_CRL_free> make_crl() {
  openssl::Handle<X509_CRL, X509_CRL_free> crl(X509_CRL_new());
  const openssl::X509NamePtr issuer(X509_NAME_new());
  const openssl::KeyPtr key(EVP_EC_gen("P-256"));
  const openssl::Handle<ASN1_TIME, ASN1_TIME_free> now(X509_gmtime_adj(nullptr, 0));
  X509_CRL_set_version(crl.get(), 1);
  X509_CRL_set_issuer_name(crl.get(), issuer.get());
  X509_CRL_set1_lastUpdate(crl.get(), now.get());
  X509_CRL_sign(crl.get(), key.get(), EVP_sha256());
  return crl;
}

const Difference kDifferences[] = {
    {"verify_mode", [](Context& context) { context.set_verify_mode(VerifyMode::kOptional); }},
    {"trust", [](Context& context) { trust(context, KeyType::kEcdsaP384); }},
    {"trust_of_the_store",
     [](Context& context) {
       const auto all = parse_certificate(test::identity(KeyType::kEcdsaP384).certificate_pem);
       const auto* at = reinterpret_cast<const unsigned char*>(all->der.data());
       const openssl::X509Ptr certificate(
           d2i_X509(nullptr, &at, static_cast<long>(all->der.size())));
       X509_STORE_add_cert(SSL_CTX_get_cert_store(context.native_handle()), certificate.get());
     }},
    {"another_store",
     [](Context& context) {
       SSL_CTX_set_cert_store(context.native_handle(), X509_STORE_new());
       trust(context, kClientKey);
       trust(context, KeyType::kEcdsaP384);
     }},
    {"store_for_peers",
     [](Context& context) {
       X509_STORE* const store = X509_STORE_new();
       SSL_CTX_set0_verify_cert_store(context.native_handle(), store);
     }},
    {"crl",
     [](Context& context) {
       X509_STORE_add_crl(SSL_CTX_get_cert_store(context.native_handle()), make_crl().get());
     }},
    {"flags_of_the_context",
     [](Context& context) {
       X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context.native_handle()),
                                   X509_V_FLAG_POLICY_CHECK);
     }},
    {"flags_of_the_store",
     [](Context& context) {
       X509_STORE_set_flags(SSL_CTX_get_cert_store(context.native_handle()),
                            X509_V_FLAG_POLICY_CHECK);
     }},
    {"strict", [](Context& context) { context.set_strict(false); }},
    {"depth", [](Context& context) { SSL_CTX_set_verify_depth(context.native_handle(), 3); }},
    {"name_of_the_client",
     [](Context& context) {
       X509_VERIFY_PARAM_set1_host(SSL_CTX_get0_param(context.native_handle()), test::kServerName,
                                   0);
     }},
    {"security_level",
     [](Context& context) { SSL_CTX_set_security_level(context.native_handle(), 1); }},
    {"own_certificate", [](Context& context) { show(context, KeyType::kEcdsaP384); }},
};

// The peer may still be accepted: what matters is that it is looked at.
TEST_P(SessionRightsSim, ServersThatDifferMakeFullHandshakes) {
  trust(client_, KeyType::kEcdsaP384);
  for (const Difference& difference : kDifferences) {
    Context one = strict_server();
    Context other = strict_server();
    difference.make(other);
    world_.run([&] {
      EXPECT_FALSE(resume(other, client_, session_of(one, client_))
                       ->server.stream->connection_state()
                       .resumed)
          << difference.name;
      const Session before = session_of(one, client_);
      difference.make(one);
      EXPECT_FALSE(resume(one, client_, before)->server.stream->connection_state().resumed)
          << difference.name << ", changed after the session was made";
    });
  }
}

TEST_P(SessionRightsSim, AdoptedContextsThatDifferMakeFullHandshakes) {
  const auto adopted = [](const Context& made) {
    const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_use_certificate(ctx.get(), SSL_CTX_get0_certificate(made.native_handle()));
    SSL_CTX_use_PrivateKey(ctx.get(), SSL_CTX_get0_privatekey(made.native_handle()));
    return Context::adopt(Role::kServer, ctx.get()).value();
  };
  std::vector<Context> servers;
  for (int i = 0; i < 3; ++i) {
    servers.push_back(adopted(server()));
    servers.back().set_ticket_keys(keys_).value();
    if (i > 0) trust(servers.back(), kClientKey);
    servers.back().set_verify_mode(i > 0 ? VerifyMode::kRequired : VerifyMode::kNone);
  }
  world_.run([&] {
    const auto refused = resume(servers[1], stranger_, session_of(servers[0], stranger_));
    EXPECT_FALSE(refused->server.well());
    EXPECT_FALSE(refused->server.stream->connection_state().resumed);
    const auto resumed = resume(servers[2], client_, session_of(servers[1], client_));
    resumed->expect_well();
    EXPECT_TRUE(resumed->server.stream->connection_state().resumed);
  });
}

TEST_P(SessionRightsSim, HelloCallbacksChoiceIsPartOfTheSession) {
  const Context strict = strict_server();
  const Context other = strict_server();
  const Context open = server();
  Context first = server();
  const Context* chosen = &open;
  first.on_client_hello([&](const ClientHello&) { return HelloAnswer::use(*chosen); });
  world_.run([&] {
    const Session session = session_of(first, stranger_);
    chosen = &strict;
    const auto refused = resume(first, stranger_, session);
    EXPECT_FALSE(refused->server.well());
    EXPECT_FALSE(refused->server.stream->connection_state().resumed);

    const Session allowed = session_of(first, client_);
    chosen = &other;
    const auto resumed = resume(first, client_, allowed);
    resumed->expect_well();
    EXPECT_TRUE(resumed->server.stream->connection_state().resumed);
  });
}

// A client of another library may well offer it.
TEST_P(SessionRightsSim, SessionOfOneNameIsNotResumedUnderAnother) {
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
  Context client = Context::adopt(Role::kClient, ctx.get()).value();
  client.set_versions(version(), version()).value();
  client.set_check_hostname(false);
  client.set_verify_mode(VerifyMode::kNone);
  const Context one = server();
  world_.run([&] {
    const Session session = session_of(one, client);
    const auto same = world_.talk(one, client, {.server_name = "SERVER.test", .session = session});
    same->expect_well();
    EXPECT_TRUE(same->server.stream->connection_state().resumed) << "names have no case";
    const Session next = same->client.stream->session().value();
    const auto talk = world_.talk(one, client, {.server_name = "other.test", .session = next});
    talk->expect_well();
    EXPECT_FALSE(talk->server.stream->connection_state().resumed);
  });
}

// A handshake with a PSK shows no certificate, and its session is no PSK.
TEST_P(SessionRightsSim, SessionWithoutACertificateIsNoneForWhoRequiresOne) {
  if (version() == TlsVersion::kTls12) return;  // A session of a PSK suite is no other's.
  Context strict = strict_server();
  const Psk key{.identity = "me", .key = std::string(32, 'k')};
  strict.on_psk_server([&](const ConnectionView&, std::string_view identity) {
    return identity == "me" ? std::optional<Psk>(key) : std::nullopt;
  });
  strict.set_ciphersuites("TLS_AES_128_GCM_SHA256").value();
  Context client = test::client_context();
  client.on_psk_client(
      [&](const ConnectionView&, std::string_view) { return std::optional<Psk>(key); });
  world_.run([&] {
    const Session session = session_of(strict, client);
    EXPECT_EQ(peer_of(session), nullptr);
    const auto again = resume(strict, client, session);
    again->expect_well();
    const auto refused = resume(strict, stranger_, session);
    EXPECT_FALSE(refused->server.well());
    EXPECT_FALSE(refused->server.stream->connection_state().resumed);
  });
}

TEST_P(SessionRightsSim, SessionOfAnExpiredCertificateIsNotResumed) {
  const Context strict = strict_server();
  world_.run([&] {
    Session session = session_of(strict, client_);
    if (std::get<1>(GetParam()) == Sharing::kStore) {
      expired_ = true;
      EXPECT_FALSE(resume(strict, client_, session)->server.stream->connection_state().resumed);
      expired_ = false;
    }
    session = Session::parse(session.serialise()).value();
    let_expire(peer_of(session));
    sim::Pipe pipe(world_.world());
    auto refused =
        Stream::create(client_, pipe.a(), {.server_name = test::kServerName, .session = session});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
  });
}

TEST_P(SessionRightsSim, VerifyCallbackIsAskedAboutResumedSessionsToo) {
  int asked = 0;
  int verdict = X509_V_OK;
  const auto hook = [&](const ConnectionView& connection, const PeerChain& chain) {
    ++asked;
    world_.park();
    EXPECT_EQ(connection.server_name(), test::kServerName);
    EXPECT_EQ(chain.verdict(), X509_V_OK);
    EXPECT_EQ(chain.certificates().size(), 1U);
    return verdict;
  };
  for (const bool on_client : {true, false}) {
    Context strict = strict_server();
    Context client = test::client_context();
    client.set_versions(version(), version()).value();
    show(client, kClientKey);
    (on_client ? client : strict).on_verify(hook);
    world_.run([&] {
      const Session session = session_of(strict, client);
      asked = 0;
      const auto resumed = resume(strict, client, session);
      resumed->expect_well();
      EXPECT_TRUE(resumed->server.stream->connection_state().resumed);
      EXPECT_GE(asked, 1) << "of the client: " << on_client;
      const Session next = resumed->client.stream->session().value();
      verdict = X509_V_ERR_CERT_REVOKED;
      const auto refused = resume(strict, client, next);
      const Conversation::End& ours = on_client ? refused->client : refused->server;
      ASSERT_TRUE(ours.error);
      EXPECT_EQ(ours.error->code, Errc::kUntrusted) << ours.message();
      EXPECT_EQ(ours.error->verify_code, X509_V_ERR_CERT_REVOKED);
      EXPECT_FALSE(refused->server.stream->connection_state().resumed);
      verdict = X509_V_OK;
    });
  }
}

TEST_P(SessionRightsSim, WhatTheVerifyCallbackThrowsAboutASessionComesOut) {
  bool fails = false;
  for (const bool on_client : {true, false}) {
    Context strict = strict_server();
    Context client = test::client_context();
    client.set_versions(version(), version()).value();
    show(client, kClientKey);
    (on_client ? client : strict)
        .on_verify([&](const ConnectionView&, const PeerChain&) -> Result<int> {
          if (fails) throw std::runtime_error("the judge is on fire");
          return X509_V_OK;
        });
    world_.run([&] {
      const Session session = session_of(strict, client);
      fails = true;
      const auto refused = resume(strict, client, session);
      EXPECT_EQ((on_client ? refused->client : refused->server).thrown, "the judge is on fire");
      fails = false;
    });
  }
}

// OpenSSL's own cache of sessions, for clients without tickets.
TEST_P(SessionRightsSim, CachedSessionsAreNotResumedPastTheVerifyCallback) {
  if (version() == TlsVersion::kTls13) return;  // Not cached there.
  Context strict = test::server_context();
  trust(strict, kClientKey);
  strict.set_verify_mode(VerifyMode::kRequired);
  SSL_CTX_set_options(client_.native_handle(), SSL_OP_NO_TICKET);
  world_.run([&] {
    const auto resumed = resume(strict, client_, session_of(strict, client_));
    EXPECT_TRUE(resumed->server.stream->connection_state().resumed) << "the cache is there";
    const Session session = session_of(strict, client_);
    strict.on_verify(
        [&](const ConnectionView&, const PeerChain&) { return X509_V_ERR_CERT_REVOKED; });
    EXPECT_FALSE(resume(strict, client_, session)->server.well());
  });
}

std::string case_name(const testing::TestParamInfo<Parameter>& test) {
  return std::string(std::get<0>(test.param) == TlsVersion::kTls12 ? "tls12" : "tls13") +
         (std::get<1>(test.param) == Sharing::kTicketKeys ? "_keys" : "_store") + "_seed_" +
         std::to_string(std::get<2>(test.param));
}

INSTANTIATE_TEST_SUITE_P(Seeds, SessionRightsSim,
                         testing::Combine(testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                                          testing::Values(Sharing::kTicketKeys, Sharing::kStore),
                                          testing::Range<std::uint64_t>(1, 3)),
                         case_name);

}  // namespace
}  // namespace heddle
