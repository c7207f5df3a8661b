// Ticket keys that the library changes by a clock, which is the simulation's here. OpenSSL judges
// the age of sessions by the wall clock, for which no time passes: what is refused is a key.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/tls/session.h"

#include "support/callback_world.h"
#include "support/seeds.h"

namespace heddle {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using test::Conversation;

// The name of the key that has sealed a ticket stands at its beginning.
std::string key_of(const Session& session) {
  const unsigned char* ticket = nullptr;
  std::size_t size = 0;
  SSL_SESSION_get0_ticket(session.native_handle(), &ticket, &size);
  return {reinterpret_cast<const char*>(ticket), std::min<std::size_t>(size, 16)};
}

class TicketRotationSim : public testing::TestWithParam<std::tuple<TlsVersion, std::uint64_t>> {
 protected:
  TicketRotationSim() {
    const TlsVersion version = std::get<0>(GetParam());
    client_.set_versions(version, version).value();
  }

  // A connection that offers `session`, if there is one.
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

  void pass(Duration time) { world_.world().pass(time); }

  test::CallbackWorld world_{std::get<1>(GetParam())};
  Context client_ = test::client_context();
};

TEST_P(TicketRotationSim, KeyIsReplacedEachHourAndItsTicketsAreRenewed) {
  const Context server = test::server_context();
  world_.run([&] {
    const Session first = talk(server).session;
    ASSERT_EQ(key_of(first).size(), 16U);
    pass(minutes(59));
    EXPECT_EQ(key_of(talk(server).session), key_of(first)) << "still the same";
    pass(minutes(1));
    const Session second = talk(server).session;
    EXPECT_NE(key_of(second), key_of(first));

    const Outcome old = talk(server, first);
    EXPECT_TRUE(old.resumed);
    EXPECT_EQ(key_of(old.session), key_of(second)) << "renewed";
    EXPECT_TRUE(talk(server, old.session).resumed);
  });
}

TEST_P(TicketRotationSim, KeyIsDroppedWithTheLastSessionOfItsTickets) {
  const Context server = test::server_context();
  world_.run([&] {
    const Session first = talk(server).session;
    pass(hours(3) - seconds(1));
    EXPECT_TRUE(talk(server, first).resumed) << "an hour to seal, and the session timeout";
    pass(seconds(1));
    EXPECT_FALSE(talk(server, first).resumed);
  });
}

TEST_P(TicketRotationSim, ServerThatWasIdleForLongKeepsNoKey) {
  const Context server = test::server_context();
  world_.run([&] {
    const Session first = talk(server).session;
    pass(hours(24 * 30));
    const Outcome late = talk(server, first);
    EXPECT_FALSE(late.resumed);
    EXPECT_NE(key_of(late.session), key_of(first));
  });
}

TEST_P(TicketRotationSim, TimesAreTheProgramsToSet) {
  Context server = test::server_context();
  server.set_ticket_rotation({.interval = minutes(1), .kept = seconds(30)}).value();
  world_.run([&] {
    const Session first = talk(server).session;
    pass(seconds(89));
    EXPECT_TRUE(talk(server, first).resumed);
    pass(seconds(1));
    EXPECT_FALSE(talk(server, first).resumed);
  });
}

TEST_P(TicketRotationSim, SessionTimeoutSaysHowLongKeysAreKept) {
  Context server = test::server_context();
  server.set_session_timeout(minutes(10));
  Context explicit_one = test::server_context();
  explicit_one.set_session_timeout(minutes(10));
  explicit_one.set_ticket_rotation({}).value();
  world_.run([&] {
    const Session first = talk(server).session;
    const Session other = talk(explicit_one).session;
    pass(minutes(69));
    EXPECT_TRUE(talk(server, first).resumed);
    EXPECT_TRUE(talk(explicit_one, other).resumed);
    pass(minutes(1));
    EXPECT_FALSE(talk(server, first).resumed);
    EXPECT_FALSE(talk(explicit_one, other).resumed);
  });
}

// Contexts that follow each other, say.
TEST_P(TicketRotationSim, SharedKeysResumeEachOthersSessionsAndChangeTogether) {
  auto one = std::make_unique<Context>(test::server_context());
  Context other = test::server_context();
  other.share_ticket_keys(*one).value();
  other.set_session_timeout(seconds(1));  // The times are those of `one`.
  world_.run([&] {
    const Session first = talk(*one).session;
    EXPECT_TRUE(talk(other, first).resumed);
    one.reset();
    pass(hours(2));
    const Outcome old = talk(other, first);
    EXPECT_TRUE(old.resumed);
    EXPECT_NE(key_of(old.session), key_of(first));
  });
}

TEST_P(TicketRotationSim, SharedKeysDoNotMakeSessionsGoodForOtherVerification) {
  Context one = test::server_context();
  Context strict = test::server_context();
  strict.set_verify_mode(VerifyMode::kOptional);
  strict.share_ticket_keys(one).value();
  world_.run([&] {
    EXPECT_FALSE(talk(strict, talk(one).session).resumed);
    EXPECT_FALSE(talk(one, talk(strict).session).resumed);
  });
}

TEST_P(TicketRotationSim, ContextsHaveKeysOfTheirOwn) {
  const Context one = test::server_context();
  const Context other = test::server_context();
  world_.run([&] { EXPECT_FALSE(talk(other, talk(one).session).resumed); });
}

std::string case_name(const testing::TestParamInfo<TicketRotationSim::ParamType>& test) {
  return (std::get<0>(test.param) == TlsVersion::kTls12 ? "tls12_seed_" : "tls13_seed_") +
         std::to_string(std::get<1>(test.param));
}

INSTANTIATE_TEST_SUITE_P(Seeds, TicketRotationSim,
                         testing::Combine(testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                                          test::seeds(1, 4)),
                         case_name);

}  // namespace
}  // namespace heddle
