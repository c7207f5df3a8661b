// A peer that sends handshake messages without end has its share of the thread and no more: others
// run, deadlines and cancellation hold, and in the end it is cut off.
#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"

#include "support/driven.h"
#include "support/sim.h"
#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using test::bytes;
using test::Driven;

constexpr Deadline kNever = Deadline::never();

// In the clear, before there is any key: OpenSSL's client skips it.
constexpr std::string_view kClearHelloRequest("\x16\x03\x03\x00\x04\x00\x00\x00\x00", 9);

// Hostile is the peer below a transport: what we write reaches it at once, and it answers at once.
class Hostile final : public Transport {
 public:
  Hostile(sim::World& world, const Context& context, const std::string& server_name)
      : world_(world) {
    end_.open(context, server_name);
    if (context.role() == Role::kClient) answer();
  }

  SSL* ssl() const { return end_.tls->native_handle(); }
  std::size_t unread() const { return end_.outgoing.pending(); }
  void say(std::string_view text) const { (void)end_.write(text).value(); }

  // What comes for ever, if anything does; each read of it takes `cost`.
  std::string_view endless;
  Duration cost{};
  std::size_t endless_reads = 0;

  IoResult try_read(std::span<std::byte> into) override {
    if (!endless.empty()) return repeat(into);
    const std::size_t count = end_.outgoing.read(into);
    return count > 0 ? IoResult{IoResult::Kind::kBytes, count}
                     : IoResult{IoResult::Kind::kWouldBlock};
  }

  IoResult try_write(std::span<const std::byte> from) override {
    end_.incoming.write(from).value();
    answer();
    return {IoResult::Kind::kBytes, from.size()};
  }

  Wake wait(Interest interest, Deadline deadline) override {
    const bool ready = interest != Interest::kRead || unread() > 0 || !endless.empty();
    return ready ? Wake::kReady : never_.wait(deadline);
  }

 private:
  void answer() {
    if (SSL_is_init_finished(ssl()) == 0) (void)end_.tls->handshake();
  }

  IoResult repeat(std::span<std::byte> into) {
    ++endless_reads;
    world_.pass(cost);
    const std::size_t count = std::min(into.size(), endless.size());
    std::copy_n(bytes(endless).begin(), count, into.begin());
    return {IoResult::Kind::kBytes, count};
  }

  sim::World& world_;
  mutable test::End end_;
  WaitQueue never_;
};

enum class Message { kKeyUpdate, kKeyUpdateRequested, kTicket, kHelloRequest };

struct Case {
  Driven::Way way;
  Message message;
  Role hostile;
};

std::string name_of(const testing::TestParamInfo<Case>& info) {
  constexpr std::array kMessages = {"KeyUpdate", "KeyUpdateRequested", "Ticket", "HelloRequest"};
  return Driven::name(info.param.way) + "Gets" +
         kMessages[static_cast<std::size_t>(info.param.message)] + "sFrom" +
         (info.param.hostile == Role::kClient ? "Client" : "Server");
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Driven::Way way : Driven::kWays) {
    for (const Role hostile : {Role::kClient, Role::kServer}) {
      for (const Message message : {Message::kKeyUpdate, Message::kKeyUpdateRequested,
                                    Message::kTicket, Message::kHelloRequest}) {
        const bool only_server = message == Message::kTicket || message == Message::kHelloRequest;
        if (!only_server || hostile == Role::kServer) cases.push_back({way, message, hostile});
      }
    }
  }
  return cases;
}

class FloodSim : public testing::TestWithParam<Case> {
 protected:
  void run(const std::function<void(Driven&, Hostile&)>& body) {
    const auto version =
        GetParam().message == Message::kHelloRequest ? TlsVersion::kTls12 : TlsVersion::kTls13;
    server_context_.set_versions(version, version).value();
    const bool hostile_client = GetParam().hostile == Role::kClient;
    sim::World world(1);
    world.run([&] {
      Hostile hostile(world, hostile_client ? client_context_ : server_context_,
                      hostile_client ? test::kServerName : "");
      Driven victim(GetParam().way, hostile_client ? server_context_ : client_context_,
                    {.server_name = hostile_client ? "" : test::kServerName}, hostile);
      victim.handshake().value();
      body(victim, hostile);
    });
  }

  static void send(const Hostile& hostile, std::size_t count) {
    SSL* const ssl = hostile.ssl();
    for (std::size_t i = 0; i < count; ++i) {
      switch (GetParam().message) {
        case Message::kKeyUpdate:
          ASSERT_EQ(SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
          break;
        case Message::kKeyUpdateRequested:
          ASSERT_EQ(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
          break;
        case Message::kTicket:
          ASSERT_EQ(SSL_new_session_ticket(ssl), 1);
          break;
        case Message::kHelloRequest:
          SSL_clear_options(ssl, SSL_OP_NO_RENEGOTIATION);
          ASSERT_EQ(SSL_renegotiate(ssl), 1);
          break;
      }
      ASSERT_EQ(SSL_do_handshake(ssl), 1);
    }
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
};

TEST_P(FloodSim, PeerThatSendsOnlyHandshakeMessagesIsCutOff) {
  run([](Driven& victim, Hostile& hostile) {
    send(hostile, 1000);
    hostile.say("at last");
    std::array<std::byte, 100> buffer{};
    const auto got = victim.read(buffer);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Errc::kProtocol) << got.error().message();
    EXPECT_EQ(victim.read(buffer).error().message(), got.error().message());
  });
}

TEST_P(FloodSim, HandshakeMessagesBetweenDataAreNoFlood) {
  run([](Driven& victim, Hostile& hostile) {
    for (int round = 0; round < 5; ++round) {
      send(hostile, 30);
      hostile.say("data");
      std::array<std::byte, 100> buffer{};
      EXPECT_EQ(victim.read(buffer).value(), 4U);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Floods, FloodSim, testing::ValuesIn(all_cases()), name_of);

// A client whose server never comes to the point.
class EndlessHandshakeSim : public testing::Test {
 protected:
  void run(const std::function<void(Stream&)>& body) {
    world_.run([&] {
      Hostile hostile(world_, server_context_, "");
      hostile.endless = kClearHelloRequest;
      hostile.cost = microseconds(1);
      hostile_ = &hostile;
      auto stream = test::client(client_context_, hostile);
      body(stream);
    });
  }

  // So that nothing but the test ends it.
  void let_all_in() { SSL_CTX_set_max_cert_list(client_context_.native_handle(), 1 << 26); }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{1};
  Hostile* hostile_ = nullptr;
};

TEST_F(EndlessHandshakeSim, DeadlineHolds) {
  let_all_in();
  run([&](Stream& stream) {
    const Deadline deadline = world_.after(milliseconds(5));
    EXPECT_EQ(stream.handshake(deadline).error().code, Errc::kTimedOut);
    EXPECT_LT(world_.now(), deadline.time() + microseconds(20));
  });
}

TEST_F(EndlessHandshakeSim, OthersRunAndTheirTimersToo) {
  let_all_in();
  run([&](Stream& stream) {
    scope([&](Scope& fibers) {
      auto handshake = fibers.spawn("client", [&] { return stream.handshake(kNever); }).value();
      for (int i = 0; i < 100; ++i) {
        const Deadline until = world_.after(microseconds(50));
        this_fiber::sleep_until(until).value();
        EXPECT_LT(world_.now(), until.time() + microseconds(400));  // The order is at random.
      }
      handshake.cancel();
      EXPECT_EQ(handshake.join().error().code, Errc::kCancelled);
    });
    EXPECT_GT(hostile_->endless_reads, 1000U);
  });
}

TEST_F(EndlessHandshakeSim, PeerIsCutOff) {
  run([&](Stream& stream) {
    const auto done = stream.handshake(kNever);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::kProtocol) << done.error().message();
  });
}

}  // namespace
}  // namespace heddle
