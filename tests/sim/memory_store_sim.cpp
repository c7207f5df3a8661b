// A server's sessions in memory, which several contexts share.
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/tls/callbacks.h"

#include "openssl/handles.h"
#include "support/callback_world.h"
#include "support/seeds.h"
#include "support/session_age.h"

namespace heddle {
namespace {

using test::Conversation;

class MemoryStoreSim : public testing::TestWithParam<std::tuple<TlsVersion, std::uint64_t>> {
 protected:
  MemoryStoreSim() {
    const TlsVersion version = std::get<0>(GetParam());
    client_.set_versions(version, version).value();
  }

  Context server(const SessionStore& store) {
    Context context = test::server_context();
    context.set_session_store(store).value();
    return context;
  }

  struct Outcome {
    bool resumed;
    Session session;
  };
  Outcome talk(const Context& server, const std::optional<Session>& session = std::nullopt) {
    const auto done =
        world_.talk(server, client_, {.server_name = test::kServerName, .session = session});
    done->expect_well();
    return {done->server.stream->connection_state().resumed,
            done->client.stream->session().value()};
  }

  test::CallbackWorld world_{std::get<1>(GetParam())};
  Context client_ = test::client_context();
};

TEST_P(MemoryStoreSim, CopiesAreOneStoreAndContextsResumeEachOthersSessions) {
  const SessionStore store = memory_session_store();
  const Context one = server(store);
  const Context other = server(store);
  const Context alone = server(memory_session_store());
  world_.run([&] {
    const Session session = talk(one).session;
    EXPECT_FALSE(talk(alone, session).resumed);
    EXPECT_TRUE(talk(other, session).resumed);
    EXPECT_TRUE(talk(one, session).resumed) << "and stays";
  });
}

TEST_P(MemoryStoreSim, OldestIsForgottenWhenItIsFull) {
  const Context one = server(memory_session_store(3));
  world_.run([&] {
    const Session first = talk(one).session;
    EXPECT_TRUE(talk(one, first).resumed);
    for (int i = 0; i < 3; ++i) (void)talk(one);
    EXPECT_FALSE(talk(one, first).resumed);
  });
}

TEST_P(MemoryStoreSim, SharedStoreDoesNotMakeSessionsGoodForOtherVerification) {
  const SessionStore store = memory_session_store();
  const Context one = server(store);
  Context asking = test::server_context();
  asking.set_verify_mode(VerifyMode::kOptional);
  asking.set_session_store(store).value();
  world_.run([&] { EXPECT_FALSE(talk(asking, talk(one).session).resumed); });
}

// A connection that ends without close_notify must not be resumed (RFC 5246, section 7.2.2).
TEST_P(MemoryStoreSim, SessionOfAConnectionThatWasCutIsForgotten) {
  const SessionStore store = memory_session_store();
  const Context one = server(store);
  world_.run([&] {
    const Session session = talk(one).session;
    Conversation cut(world_.world());
    cut.client.stream = Stream::create(client_, cut.pipe.a(),
                                       {.server_name = test::kServerName, .session = session})
                            .value();
    cut.server.stream = test::server(one, cut.pipe.b());
    scope([&](Scope& fibers) {
      ASSERT_TRUE(
          fibers.spawn("server", [&] { cut.server.stream->handshake(Deadline::never()).value(); }));
      cut.client.stream->handshake(Deadline::never()).value();
    });
    EXPECT_TRUE(cut.server.stream->connection_state().resumed);
    cut.pipe.vanish_a();
    cut.server.stream.reset();
    // OpenSSL says so when the next handshake is over, and has made its own unusable before.
    EXPECT_TRUE(talk(one, session).resumed);
    // In TLS 1.3 a connection that was resumed has a session of its own, which is the one.
    const bool is_tls13 = std::get<0>(GetParam()) == TlsVersion::kTls13;
    EXPECT_EQ(talk(one, session).resumed, is_tls13);
  });
}

std::string case_name(const testing::TestParamInfo<MemoryStoreSim::ParamType>& test) {
  return (std::get<0>(test.param) == TlsVersion::kTls12 ? "tls12_seed_" : "tls13_seed_") +
         std::to_string(std::get<1>(test.param));
}

INSTANTIATE_TEST_SUITE_P(Seeds, MemoryStoreSim,
                         testing::Combine(testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                                          test::seeds(1, 4)),
                         case_name);

// The functions by themselves.
class MemoryStoreTest : public testing::Test {
 protected:
  // A session of its own id.
  static Session made(unsigned number) {
    const openssl::SessionPtr session(SSL_SESSION_new());
    SSL_SESSION_set_protocol_version(session.get(), TLS1_2_VERSION);
    SSL_SESSION_set1_id(session.get(), reinterpret_cast<const unsigned char*>(&number),
                        sizeof(number));
    return Session(session.get());
  }
  static void set_age(const Session& session, long age) {
    test::set_age(session.native_handle(), age);
  }

  bool has(const SessionStore& store, const Session& session) {
    return store.get(ConnectionView(ssl_.get()), session.id()).value().has_value();
  }
  void put(const SessionStore& store, const Session& session) {
    store.put(ConnectionView(ssl_.get()), session).value();
  }

  openssl::SslCtxPtr ctx_{SSL_CTX_new(TLS_server_method())};
  openssl::SslPtr ssl_{SSL_new(ctx_.get())};
};

TEST_F(MemoryStoreTest, SessionIsGoneOnceItIsRemovedOrHasTimedOut) {
  const SessionStore store = memory_session_store();
  const Session session = made(1);
  put(store, session);
  EXPECT_TRUE(has(store, session));
  store.remove(session.id(), Deadline::never()).value();
  store.remove(session.id(), Deadline::never()).value();
  EXPECT_FALSE(has(store, session));
  put(store, session);
  set_age(session, session.timeout().count() + 10);
  EXPECT_FALSE(has(store, session));
  put(store, session);
  set_age(session, 0);
  EXPECT_FALSE(has(store, session)) << "it was not even kept";
}

// OpenSSL makes the session unusable that a connection has when it is cut.
TEST_F(MemoryStoreTest, WhatIsGivenOutIsACopy) {
  const SessionStore store = memory_session_store();
  const Session session = made(1);
  put(store, session);
  const auto got = store.get(ConnectionView(ssl_.get()), session.id()).value();
  ASSERT_TRUE(got);
  EXPECT_NE(got->native_handle(), session.native_handle());
}

TEST_F(MemoryStoreTest, SessionThatIsPutAgainIsNotTheOldest) {
  const SessionStore store = memory_session_store(2);
  put(store, made(1));
  put(store, made(2));
  put(store, made(1));
  put(store, made(3));
  EXPECT_TRUE(has(store, made(1)));
  EXPECT_FALSE(has(store, made(2)));
  EXPECT_TRUE(has(store, made(3)));
}

TEST_F(MemoryStoreTest, StoreOfNoneKeepsNone) {
  const SessionStore store = memory_session_store(0);
  put(store, made(1));
  EXPECT_FALSE(has(store, made(1)));
}

TEST_F(MemoryStoreTest, ThreadsShareIt) {
  const SessionStore store = memory_session_store(10);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (unsigned turn = 0; turn < 200; ++turn) {
        const Session session = made(i * 1000 + turn);
        put(store, session);
        (void)has(store, session);
        if (turn % 3 == 0) store.remove(session.id(), Deadline::never()).value();
      }
    });
  }
  for (std::thread& each : threads) each.join();
}

}  // namespace
}  // namespace heddle
