// Sessions kept outside of OpenSSL, and ticket keys: by callbacks that park, while others leave
// entries in the error queue.
#include <array>
#include <cerrno>
#include <chrono>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/tls/session.h"

#include "support/callback_world.h"
#include "support/seeds.h"

namespace heddle {
namespace {

using std::chrono::seconds;
using test::Conversation;

// The seed, and the version that is spoken.
class SessionCallbacksSim : public testing::TestWithParam<std::tuple<TlsVersion, std::uint64_t>> {
 protected:
  SessionCallbacksSim() {
    client_.set_versions(version(), version()).value();
    client_.on_new_session([this](const ConnectionView& connection, const Session& session) {
      world_.park();
      EXPECT_EQ(connection.server_name(), test::kServerName);
      got_.push_back(session);
      return Result<void>();
    });
  }

  TlsVersion version() const { return std::get<0>(GetParam()); }
  bool tls13() const { return version() == TlsVersion::kTls13; }

  std::unique_ptr<Conversation> talk(const Context& server) {
    return world_.talk(server, client_, {.server_name = test::kServerName});
  }
  std::unique_ptr<Conversation> resume(const Context& server) {
    return world_.talk(server, client_, {.server_name = test::kServerName, .session = got_.back()});
  }

  // One whose session is of no use any more.
  void break_connection(const Context& server) {
    Conversation broken(world_.world());
    broken.client.stream = test::client(client_, broken.pipe.a());
    broken.server.stream = test::server(server, broken.pipe.b());
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn(
          "server", [&] { broken.server.stream->handshake(Deadline::never()).value(); }));
      broken.client.stream->handshake(Deadline::never()).value();
    });
    broken.pipe.vanish_a();
  }

  // A store in memory that takes its time.
  SessionStore store() {
    return {.put =
                [this](const ConnectionView&, const Session& session) {
                  world_.park();
                  stored_[session.id()] = session.serialise();
                  return Result<void>();
                },
            .get = [this](const ConnectionView&, std::string_view id) -> std::optional<Session> {
              world_.park();
              const auto found = stored_.find(std::string(id));
              if (found == stored_.end()) return std::nullopt;
              return Session::parse(found->second).value();
            },
            .remove =
                [this](std::string_view id, Deadline deadline) {
                  world_.park();
                  removed_ += stored_.erase(std::string(id));
                  removal_deadline_ = deadline;
                  return Result<void>();
                }};
  }

  test::CallbackWorld world_{std::get<1>(GetParam())};
  Context client_ = test::client_context();
  std::vector<Session> got_;
  std::map<std::string, std::string> stored_;
  std::size_t removed_ = 0;
  Deadline removal_deadline_ = Deadline::never();
};

TEST_P(SessionCallbacksSim, ClientGetsSessionsAndResumesWithThem) {
  const Context server = test::server_context();
  world_.run([&] {
    const auto first = talk(server);
    first->expect_well();
    EXPECT_FALSE(first->client.stream->connection_state().resumed);
    ASSERT_EQ(got_.size(), tls13() ? 2U : 1U);
    EXPECT_EQ(world_.parks(), tls13() ? 2 : 1);
    EXPECT_TRUE(got_.back().has_ticket());
    EXPECT_TRUE(got_.back().is_resumable());
    EXPECT_EQ(got_.back().timeout(), seconds(7200));
    EXPECT_EQ(got_.back().ticket_lifetime_hint(), seconds(7200));
    EXPECT_EQ(got_.back().id().size(), 32U);
    EXPECT_EQ(got_.back().id(), first->client.stream->session()->id()) << "the latest";

    const auto second = resume(server);
    second->expect_well();
    EXPECT_TRUE(second->client.stream->connection_state().resumed);
    EXPECT_TRUE(second->server.stream->connection_state().resumed);
  });
}

TEST_P(SessionCallbacksSim, ServerSaysHowLongSessionsLast) {
  Context server = test::server_context();
  server.set_session_timeout(seconds(1234));
  world_.run([&] { talk(server)->expect_well(); });
  EXPECT_EQ(got_.back().ticket_lifetime_hint(), seconds(1234));
}

TEST_P(SessionCallbacksSim, SerialisedSessionResumesToo) {
  const Context server = test::server_context();
  world_.run([&] {
    talk(server)->expect_well();
    const Session before = got_.back();
    got_ = {Session::parse(before.serialise()).value()};
    EXPECT_EQ(got_.back().id(), before.id());
    EXPECT_EQ(got_.back().time(), before.time());
    const auto second = resume(server);
    second->expect_well();
    EXPECT_TRUE(second->client.stream->connection_state().resumed);
  });
}

TEST_P(SessionCallbacksSim, ServersThatShareAStoreResumeEachOthersSessions) {
  Context one = test::server_context();
  Context other = test::server_context();
  one.set_session_store(store()).value();
  other.set_session_store(store()).value();
  world_.run([&] {
    talk(one)->expect_well();
    EXPECT_EQ(stored_.size(), tls13() ? 2U : 1U);
    const auto second = resume(other);
    second->expect_well();
    EXPECT_TRUE(second->server.stream->connection_state().resumed);
    EXPECT_GE(world_.parks(), 3);
    stored_.clear();
    const auto third = resume(other);
    third->expect_well();
    EXPECT_FALSE(third->server.stream->connection_state().resumed)
        << "its session is no longer there";
  });
}

TEST_P(SessionCallbacksSim, SessionOfABrokenConnectionIsRemovedOutsideOfOpenSsl) {
  Context server = test::server_context();
  server.set_session_store(store()).value();
  world_.run([&] {
    break_connection(server);
    EXPECT_EQ(removed_, 0U) << "the destructor may not park";
    const std::size_t before = stored_.size();
    const Deadline deadline = world_.world().after(seconds(60));
    sim::Pipe nobody(world_.world());
    nobody.vanish_a();
    EXPECT_FALSE(test::server(server, nobody.b()).handshake(deadline));
    EXPECT_EQ(removed_, 1U);
    EXPECT_EQ(stored_.size(), before - 1);
    EXPECT_EQ(removal_deadline_, deadline);
  });
}

TEST_P(SessionCallbacksSim, ServersThatShareTicketKeysResumeEachOthersSessions) {
  const TicketKey old_key = TicketKey::generate().value();
  const TicketKey new_key = TicketKey::generate().value();
  Context one = test::server_context();
  Context other = test::server_context();
  one.set_ticket_keys({old_key}).value();
  other.set_ticket_keys({new_key}).value();
  world_.run([&] {
    talk(one)->expect_well();
    const auto apart = resume(other);
    apart->expect_well();
    EXPECT_FALSE(apart->server.stream->connection_state().resumed);

    got_.clear();
    talk(one)->expect_well();
    other.set_ticket_keys({new_key, old_key}).value();
    const auto rotated = resume(other);
    rotated->expect_well();
    EXPECT_TRUE(rotated->server.stream->connection_state().resumed);

    // A ticket under an old key has been renewed.
    got_.push_back(rotated->client.stream->session().value());
    other.set_ticket_keys({new_key}).value();
    const auto renewed = resume(other);
    renewed->expect_well();
    EXPECT_TRUE(renewed->server.stream->connection_state().resumed);
  });
}

TEST_P(SessionCallbacksSim, TicketKeysMayComeFromAFunctionThatParks) {
  const std::vector<TicketKey> keys = {TicketKey::generate().value()};
  Context one = test::server_context();
  Context other = test::server_context();
  for (Context* const context : {&one, &other}) {
    context
        ->on_ticket_keys([&](const ConnectionView&) {
          world_.park();
          return keys;
        })
        .value();
  }
  world_.run([&] {
    talk(one)->expect_well();
    const int before = world_.parks();
    const auto second = resume(other);
    second->expect_well();
    EXPECT_TRUE(second->server.stream->connection_state().resumed);
    EXPECT_GT(world_.parks(), before + (tls13() ? 2 : 0));
  });
}

TEST_P(SessionCallbacksSim, WithoutTicketKeysThereAreNoTickets) {
  Context server = test::server_context();
  server.on_ticket_keys([](const ConnectionView&) { return std::vector<TicketKey>(); }).value();
  world_.run([&] {
    talk(server)->expect_well();
    for (const Session& session : got_) EXPECT_FALSE(session.has_ticket());
  });
}

TEST_P(SessionCallbacksSim, FailureToFindTicketKeysEndsTheHandshake) {
  Context server = test::server_context();
  server
      .on_ticket_keys([&](const ConnectionView&) -> Result<std::vector<TicketKey>> {
        world_.park();
        return Error{.code = Errc::kUnreachable, .operation = "ask for ticket keys"}.with("vault");
      })
      .value();
  world_.run([&] {
    const auto failed = talk(server);
    ASSERT_TRUE(failed->server.error);
    EXPECT_EQ(failed->server.error->code, Errc::kUnreachable) << failed->server.message();
    EXPECT_EQ(failed->server.message(), "vault: ask for ticket keys: unreachable");
    EXPECT_FALSE(failed->client.well());
  });
}

TEST_P(SessionCallbacksSim, WhatASessionCallbackThrowsComesOutUnharmed) {
  Context server = test::server_context();
  SessionStore throwing = store();
  throwing.put = [&](const ConnectionView&, const Session&) -> Result<void> {
    world_.park();
    throw std::runtime_error("the store is on fire");
  };
  server.set_session_store(std::move(throwing)).value();
  world_.run([&] {
    const auto failed = talk(server);
    EXPECT_EQ(failed->server.thrown, "the store is on fire");
    EXPECT_FALSE(failed->client.well());
  });
}

TEST_P(SessionCallbacksSim, StoreThatFailsCostsFullHandshakesAndNoConnection) {
  Context server = test::server_context();
  SessionStore failing = store();
  bool puts = true;
  failing.put = [this, &puts, put = failing.put](const ConnectionView& connection,
                                                 const Session& session) -> Result<void> {
    if (puts) return put(connection, session);
    world_.park();
    return Error{.code = Errc::kUnreachable, .operation = "put"}.with("redis.test");
  };
  failing.get = [this](const ConnectionView&, std::string_view) -> Result<std::optional<Session>> {
    world_.park();
    return Error{.code = Errc::kTimedOut, .operation = "get"}.with("redis.test");
  };
  std::vector<std::string> told;
  failing.on_error = [&](const Error& error) {
    world_.park();
    told.push_back(error.message());
  };
  server.set_session_store(std::move(failing)).value();
  world_.run([&] {
    talk(server)->expect_well();
    EXPECT_TRUE(told.empty());
    puts = false;
    const auto second = resume(server);
    second->expect_well();
    EXPECT_FALSE(second->server.stream->connection_state().resumed);
    std::vector<std::string> expected = {"redis.test: get: timed out"};
    expected.resize(tls13() ? 3 : 2, "redis.test: put: unreachable");
    EXPECT_EQ(told, expected);
  });
}

TEST_P(SessionCallbacksSim, StoreNeedNotHearOfItsErrors) {
  Context server = test::server_context();
  SessionStore failing = store();
  failing.put = [](const ConnectionView&, const Session&) {
    return Result<void>(Error{.code = Errc::kUnreachable});
  };
  server.set_session_store(std::move(failing)).value();
  world_.run([&] { talk(server)->expect_well(); });
}

TEST_P(SessionCallbacksSim, StoreThatFailsToRemoveIsToldAndAskedForTheRest) {
  Context server = test::server_context();
  SessionStore failing = store();
  int removals = 0;
  failing.remove = [&](std::string_view, Deadline) -> Result<void> {
    ++removals;
    return Error{.code = Errc::kUnreachable, .operation = "remove"}.with("redis.test");
  };
  std::vector<std::string> told;
  failing.on_error = [&](const Error& error) { told.push_back(error.message()); };
  server.set_session_store(std::move(failing)).value();
  world_.run([&] {
    break_connection(server);
    break_connection(server);
    talk(server)->expect_well();
    EXPECT_EQ(removals, 2);
    EXPECT_EQ(told, std::vector<std::string>(2, "redis.test: remove: unreachable"));
  });
}

TEST_P(SessionCallbacksSim, WhatOnErrorThrowsEndsTheConnectionAsTheStoresOwnWould) {
  Context server = test::server_context();
  SessionStore failing = store();
  failing.put = [](const ConnectionView&, const Session&) {
    return Result<void>(Error{.code = Errc::kUnreachable});
  };
  failing.on_error = [](const Error&) { throw std::runtime_error("no log either"); };
  server.set_session_store(std::move(failing)).value();
  world_.run([&] { EXPECT_EQ(talk(server)->server.thrown, "no log either"); });
}

TEST_P(SessionCallbacksSim, ErrorOfANewSessionEndsTheClientsConnectionWhole) {
  const Context server = test::server_context();
  client_.on_new_session([&](const ConnectionView&, const Session&) -> Result<void> {
    world_.park();
    return Error{.code = Errc::kExhausted, .sys_errno = ENOSPC, .operation = "keep a session"}.with(
        "cache");
  });
  world_.run([&] {
    const auto failed = talk(server);
    ASSERT_TRUE(failed->client.error);
    EXPECT_EQ(failed->client.error->message(),
              "cache: keep a session: out of resources: No space left on device");
    std::array<std::byte, 1> byte{};
    const auto again = failed->client.stream->read(byte, Deadline::never());
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().context(), "cache") << "it is final";
  });
}

TEST_P(SessionCallbacksSim, SessionOfAnotherHostIsRefused) {
  Context server = test::server_context();
  world_.run([&] {
    talk(server)->expect_well();
    SSL_SESSION_set1_hostname(got_.back().native_handle(), "other.test");
    sim::Pipe pipe(world_.world());
    auto refused = Stream::create(client_, pipe.a(),
                                  {.server_name = test::kServerName, .session = got_.back()});
    ASSERT_FALSE(refused);
    EXPECT_STREQ(refused.error().detail, "it is another host's");
  });
}

TEST_P(SessionCallbacksSim, SessionOfAnUnverifiedPeerIsRefusedByWhoVerifies) {
  const Context server = test::server_context();
  Context careless = Context::create(Role::kClient, Trust::kNothing).value();
  careless.set_verify_mode(VerifyMode::kNone);
  careless.set_check_hostname(false);
  world_.run([&] {
    const auto first = world_.talk(server, careless);
    first->expect_well();
    sim::Pipe pipe(world_.world());
    auto refused = Stream::create(
        client_, pipe.a(),
        {.server_name = test::kServerName, .session = first->client.stream->session()});
    ASSERT_FALSE(refused);
    EXPECT_STREQ(refused.error().detail, "its peer was not verified");
  });
}

std::string case_name(const testing::TestParamInfo<SessionCallbacksSim::ParamType>& test) {
  return (std::get<0>(test.param) == TlsVersion::kTls12 ? "tls12_seed_" : "tls13_seed_") +
         std::to_string(std::get<1>(test.param));
}

INSTANTIATE_TEST_SUITE_P(Seeds, SessionCallbacksSim,
                         testing::Combine(testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                                          test::seeds(1, 9)),
                         case_name);

}  // namespace
}  // namespace heddle
