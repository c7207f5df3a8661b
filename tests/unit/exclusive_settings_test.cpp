// Settings of a Context of which one would have no effect beside another.
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/tls/context.h"
#include "heddle/tls/session.h"

#include "openssl/handles.h"
#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

// Whichever comes second is refused with a sentence that names both, and the first stays.
void expect_both_named(const Result<void>& refused, const char* one, const char* other) {
  ASSERT_FALSE(refused) << one << " beside " << other;
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
  EXPECT_NE(refused.error().message().find(one), std::string::npos) << refused.error().message();
  EXPECT_NE(refused.error().message().find(other), std::string::npos) << refused.error().message();
}

// The protocol that a client of h2 has agreed on with `server`.
std::string agreed(const Context& server) {
  Context client = test::client_context();
  client.set_alpn_protocols(std::vector<std::string_view>{"h2"}).value();
  test::End ours;
  test::End theirs;
  ours.open(client, test::kServerName);
  theirs.open(server, "");
  for (int flight = 0; flight < 2; ++flight) {
    (void)ours.tls->handshake().value();
    test::move(ours.outgoing, theirs.incoming);
    (void)theirs.tls->handshake().value();
    test::move(theirs.outgoing, ours.incoming);
  }
  return theirs.tls->connection_state().alpn;
}

TEST(ExclusiveSettingsTest, SettingThatWouldReplaceAnotherIsRefused) {
  using Protocols = std::vector<std::string_view>;
  constexpr const char* kOnAlpn = "on_alpn()";
  constexpr const char* kAlpn = "set_alpn_protocols()";
  const auto choose = [](const ConnectionView&, std::span<const std::string_view>) {
    return Result<std::optional<std::string>>(std::nullopt);
  };
  Context server = test::server_context();
  server.set_alpn_protocols(Protocols{"h2"}).value();
  expect_both_named(server.on_alpn(choose), kOnAlpn, kAlpn);
  server.on_alpn({}).value();
  EXPECT_EQ(agreed(server), "h2") << "the first stays";
  server.set_alpn_protocols({}).value();
  server.on_alpn(choose).value();
  expect_both_named(server.set_alpn_protocols(Protocols{"h2"}), kOnAlpn, kAlpn);
  server.on_alpn({}).value();
  EXPECT_TRUE(server.set_alpn_protocols(Protocols{"h2"}));
  EXPECT_EQ(agreed(server), "h2");
}

TEST(ExclusiveSettingsTest, TicketKeysTheirCallbackAndAStoreExcludeEachOther) {
  constexpr std::array<const char*, 5> kNames = {"set_ticket_keys()", "on_ticket_keys()",
                                                 "set_session_store()", "set_ticket_rotation()",
                                                 "share_ticket_keys()"};
  const Context other = Context::create(Role::kServer).value();
  const auto set = [&other](Context& context, std::size_t which) -> Result<void> {
    if (which == 3) return context.set_ticket_rotation({});
    if (which == 4) return context.share_ticket_keys(other);
    if (which == 0) return context.set_ticket_keys({TicketKey::generate().value()});
    if (which == 1) {
      return context.on_ticket_keys([](const ConnectionView&) { return std::vector<TicketKey>(); });
    }
    return context.set_session_store(
        {.put = [](const ConnectionView&, const Session&) { return Result<void>(); },
         .get = [](const ConnectionView&, std::string_view) { return std::optional<Session>(); },
         .remove = {}});
  };
  for (std::size_t first = 0; first < kNames.size(); ++first) {
    Context context = Context::create(Role::kServer).value();
    set(context, first).value();
    EXPECT_TRUE(set(context, first)) << "exchanged for another of its kind";
    for (std::size_t second = 0; second < kNames.size(); ++second) {
      if (second != first) {
        expect_both_named(set(context, second), kNames.at(first), kNames.at(second));
      }
    }
  }
}

TEST(ExclusiveSettingsTest, OnlyKeysThatThereAreAreShared) {
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_server_method()));
  const Context adopted = Context::adopt(Role::kServer, ctx.get()).value();
  Context asks = Context::create(Role::kServer).value();
  asks.on_ticket_keys([](const ConnectionView&) { return std::vector<TicketKey>(); }).value();
  Context stores = Context::create(Role::kServer).value();
  stores.set_session_store(memory_session_store()).value();
  for (const Context* const other :
       {&adopted, static_cast<const Context*>(&asks), static_cast<const Context*>(&stores)}) {
    Context context = Context::create(Role::kServer).value();
    const auto refused = context.share_ticket_keys(*other);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
    EXPECT_TRUE(context.set_ticket_rotation({})) << "as it was";
  }
}

TEST(ExclusiveSettingsTest, CacheOfAClientMustHoldSomethingThatSaysWhatWasVerified) {
  Context client = Context::create(Role::kClient, Trust::kNothing).value();
  EXPECT_EQ(client.set_session_cache({.servers_max = 0}).error().code, Errc::kInvalid);
  EXPECT_EQ(client.set_session_cache({.sessions_per_server = 0}).error().code, Errc::kInvalid);
  EXPECT_TRUE(client.set_session_cache({}));
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
  Context adopted = Context::adopt(Role::kClient, ctx.get()).value();
  EXPECT_EQ(adopted.set_session_cache({}).error().code, Errc::kInvalid);
}

}  // namespace
}  // namespace heddle
