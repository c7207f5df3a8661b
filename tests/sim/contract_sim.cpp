// What is true of a connection however it is driven: by a Stream, a SslObject or a StreamTransport.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/tls/callbacks.h"
#include "heddle/tls/context.h"
#include "heddle/transport.h"

#include "support/driven.h"
#include "support/own_entries.h"
#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::bytes;
using test::Driven;

constexpr std::string_view kCloseNotify("\x15\x03\x03\x00\x02\x01\x00", 7);  // Not encrypted.

// The peer below a transport. What is written reaches it at once, and it shakes hands by itself.
// Nobody is waited for: where a fiber would park for ever, its deadline has passed.
class Peer final : public Transport {
 public:
  Peer(const Context& context, const std::string& server_name) {
    end_.open(context, server_name);
    if (context.role() == Role::kClient) shake_hands();
  }

  SSL* ssl() const { return end_.tls->native_handle(); }
  std::string read() { return end_.read(); }
  void say(std::string_view text) { (void)end_.write(text).value(); }
  // Writes what is pending, such as a KeyUpdate or a ticket.
  void speak() { (void)end_.tls->handshake().value(); }
  void end() { (void)end_.tls->shutdown().value(); }
  Result<Progress> read_one() { return end_.read_one(); }
  std::size_t unread() const { return end_.outgoing.pending(); }
  // These come instead of what the peer says.
  void replace(std::string_view by) {
    end_.outgoing = MemoryBio();
    end_.outgoing.write(bytes(by)).value();
    deaf_ = true;
  }

  std::size_t allowed = SIZE_MAX;  // Bytes that may be read.
  bool cut = false;                // Behind them comes the end.
  bool ended = false;              // We have ended the transport.

  IoResult try_read(std::span<std::byte> into) override {
    const std::size_t count = end_.outgoing.read(into.first(std::min(into.size(), allowed)));
    if (allowed != SIZE_MAX) allowed -= count;
    if (count > 0) return {IoResult::Kind::kBytes, count};
    return {cut ? IoResult::Kind::kEnd : IoResult::Kind::kWouldBlock};
  }

  IoResult try_write(std::span<const std::byte> from) override {
    if (!deaf_) {
      end_.incoming.write(from).value();
      shake_hands();
    }
    return {IoResult::Kind::kBytes, from.size()};
  }

  void shutdown_write() noexcept override { ended = true; }

  Wake wait(Interest interest, Deadline /*deadline*/) override {
    const bool readable = cut || (unread() > 0 && allowed > 0);
    return interest != Interest::kRead || readable ? Wake::kReady : Wake::kTimedOut;
  }

 private:
  void shake_hands() {
    if (SSL_is_init_finished(ssl()) == 0) (void)end_.tls->handshake();
  }

  test::End end_;
  bool deaf_ = false;
};

using Parameter = std::tuple<Driven::Way, Role, TlsVersion>;

class ContractSim : public testing::TestWithParam<Parameter> {
 protected:
  Driven::Way way() const { return std::get<0>(GetParam()); }
  Role role() const { return std::get<1>(GetParam()); }
  bool is_tls13() const { return std::get<2>(GetParam()) == TlsVersion::kTls13; }

  Context& ours() { return role() == Role::kClient ? client_context_ : server_context_; }

  void open() {
    for (Context* context : {&server_context_, &client_context_}) {
      context->set_versions(std::get<2>(GetParam()), std::get<2>(GetParam())).value();
    }
    const bool client = role() == Role::kClient;
    peer_ = std::make_unique<Peer>(client ? server_context_ : client_context_,
                                   client ? "" : test::kServerName);
    const StreamOptions options{.server_name = client ? test::kServerName : ""};
    driven_ = std::make_unique<Driven>(way(), ours(), options, *peer_);
  }

  void shake_hands() {
    open();
    driven_->handshake().value();
    EXPECT_EQ(read().error().code, Errc::kTimedOut) << "tickets are no data";
    EXPECT_EQ(peer_->read(), "");
  }

  Result<std::size_t> read() const {
    std::array<std::byte, 100> some{};
    return driven_->read(some);
  }

  // Every call fails with `code` from now on.
  void expect_final(Errc code) const {
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(read().error().code, code);
      EXPECT_EQ(driven_->write("x").error().code, code);
      EXPECT_EQ(driven_->handshake().error().code, code);
    }
  }

  // Half of a message that comes after the handshake is read: a ticket that takes several records,
  // since it holds the client's certificate.
  void read_half_a_ticket() {
    const Identity& identity = test::identity(KeyType::kRsa2048);
    client_context_.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
    server_context_.add_trusted_certificates(bytes(identity.certificate_pem)).value();
    server_context_.set_verify_mode(VerifyMode::kRequired);
    server_context_.set_num_tickets(0);
    shake_hands();
    ASSERT_EQ(SSL_set_max_send_fragment(peer_->ssl(), 512), 1);
    ASSERT_EQ(SSL_new_session_ticket(peer_->ssl()), 1);
    peer_->speak();
    ASSERT_GT(peer_->unread(), 800U);
    peer_->allowed = 700;
    EXPECT_EQ(read().error().code, Errc::kTimedOut);
    ASSERT_NE(SSL_in_init(driven_->ssl()), 0) << "the ticket is half read";
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  std::unique_ptr<Peer> peer_;
  std::unique_ptr<Driven> driven_;
  test::OwnEntries entries_;
};

class TicketContractSim : public ContractSim {};

TEST_P(TicketContractSim, EndAfterHalfATicketIsSentOnceTheRestHasCome) {
  read_half_a_ticket();
  EXPECT_EQ(driven_->end().error().code, Errc::kTimedOut);
  peer_->allowed = SIZE_MAX;
  EXPECT_TRUE(driven_->end());
  EXPECT_EQ(peer_->read_one()->kind, Progress::Kind::kEnd);
}

TEST_P(TicketContractSim, EndAfterHalfATicketIsSentAtOnceIfTheRestIsThere) {
  read_half_a_ticket();
  peer_->allowed = SIZE_MAX;
  EXPECT_TRUE(driven_->end());
  EXPECT_EQ(peer_->read_one()->kind, Progress::Kind::kEnd);
}

// The outer stream may be inside a call of OpenSSL: no callback may park there.
TEST_P(TicketContractSim, EndOfAStreamBelowLeavesCallbacksToItsWait) {
  if (way() != Driven::Way::kStreamTransport) return;
  int sessions = 0;
  client_context_.on_new_session([&](const ConnectionView&, const Session&) {
    ++sessions;
    return Result<void>();
  });
  read_half_a_ticket();
  peer_->allowed = SIZE_MAX;
  const int before = sessions;
  driven_->as_transport().shutdown_write();
  EXPECT_EQ(sessions, before);
  EXPECT_FALSE(peer_->ended) << "close_notify comes first";
  EXPECT_EQ(driven_->as_transport().wait(Interest::kWrite, Deadline::never()), Wake::kReady);
  EXPECT_EQ(sessions, before + 1);
  EXPECT_TRUE(peer_->ended);
  EXPECT_EQ(peer_->read_one()->kind, Progress::Kind::kEnd);
}

TEST_P(TicketContractSim, WriteAfterHalfATicketGoesThroughTheRest) {
  read_half_a_ticket();
  peer_->allowed = SIZE_MAX;
  EXPECT_TRUE(driven_->write("here"));
  EXPECT_EQ(peer_->read(), "here");
}

TEST_P(ContractSim, WhatIsWrittenComesAndWhatIsSaidIsRead) {
  shake_hands();
  EXPECT_TRUE(driven_->write("ours"));
  EXPECT_EQ(peer_->read(), "ours");
  peer_->say("theirs");
  EXPECT_EQ(read().value(), 6U);
}

TEST_P(ContractSim, FirstReadOrWriteShakesHands) {
  open();
  if (role() == Role::kClient) {
    EXPECT_TRUE(driven_->write("first"));
    EXPECT_EQ(peer_->read(), "first");
  } else {
    EXPECT_EQ(read().error().code, Errc::kTimedOut);
  }
  EXPECT_NE(SSL_is_init_finished(driven_->ssl()), 0);
}

TEST_P(ContractSim, AfterOurEndWritesFailAndReadsGoOn) {
  shake_hands();
  EXPECT_TRUE(driven_->end());
  EXPECT_TRUE(driven_->end()) << "again";
  EXPECT_EQ(peer_->read_one()->kind, Progress::Kind::kEnd);
  EXPECT_EQ(driven_->write("x").error().code, Errc::kDisconnected);
  peer_->say("an answer");
  EXPECT_EQ(read().value(), 9U);
}

TEST_P(ContractSim, ConnectionThatIsCutIsTruncatedForGood) {
  shake_hands();
  peer_->cut = true;
  EXPECT_EQ(read().error().code, Errc::kTruncated);
  expect_final(Errc::kTruncated);
}

TEST_P(ContractSim, HandshakeThatIsCutIsTruncatedForGood) {
  open();
  peer_->allowed = 20;
  peer_->cut = true;
  EXPECT_EQ(driven_->handshake().error().code, Errc::kTruncated);
  expect_final(Errc::kTruncated);
}

TEST_P(ContractSim, JunkIsAProtocolErrorForGood) {
  shake_hands();
  peer_->replace("SSH-2.0-OpenSSH_9.2\r\n");
  const auto first = read();
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Errc::kProtocol);
  expect_final(Errc::kProtocol);
  EXPECT_EQ(driven_->write("x").error().openssl_code, first.error().openssl_code);
}

// That we have ended it before is not why it is over.
TEST_P(ContractSim, FailureAfterOurEndIsWhatAllCallsFailWithFromThenOn) {
  shake_hands();
  EXPECT_TRUE(driven_->end());
  peer_->replace("SSH-2.0-OpenSSH_9.2\r\n");
  EXPECT_EQ(read().error().code, Errc::kProtocol);
  expect_final(Errc::kProtocol);
}

// Whether it is driven by handshake(), read() or write().
TEST_P(ContractSim, EndInTheMiddleOfAHandshakeIsAFailureForGood) {
  for (int by = 0; by < 3; ++by) {
    open();
    if (role() == Role::kServer) {
      // It has spoken, and goes on with something else.
      peer_->allowed = 10;
      EXPECT_EQ(read().error().code, Errc::kTimedOut);
      peer_->allowed = SIZE_MAX;
      EXPECT_EQ(read().error().code, Errc::kTimedOut) << "our flight waits for theirs";
      continue;
    }
    peer_->replace(kCloseNotify);
    const Result<void> done = by == 0   ? driven_->handshake()
                              : by == 1 ? driven_->write("x")
                                        : (read() ? Result<void>() : Result<void>(read().error()));
    ASSERT_FALSE(done) << by;
    EXPECT_EQ(done.error().code, Errc::kDisconnected) << by;
    expect_final(Errc::kDisconnected);
  }
}

TEST_P(ContractSim, ExceptionOfACallbackIsThrownOnceAndEndsTheConnection) {
  ours().set_versions(std::get<2>(GetParam()), std::get<2>(GetParam())).value();
  ours().on_key_log([](const ConnectionView&, std::string_view) -> Result<void> {
    throw std::runtime_error("no");
  });
  open();
  EXPECT_THROW(
      {
        (void)driven_->handshake();
        (void)read();
      },
      std::runtime_error);
  expect_final(Errc::kDisconnected);
}

TEST_P(ContractSim, KeyUpdateThatIsAskedForIsSentBeforeData) {
  if (!is_tls13()) return;  // TLS 1.2 has none.
  shake_hands();
  ASSERT_EQ(SSL_key_update(peer_->ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
  peer_->speak();
  EXPECT_EQ(read().error().code, Errc::kTimedOut);
  std::vector<std::uint8_t> records;
  SSL_set_msg_callback_arg(peer_->ssl(), &records);
  SSL_set_msg_callback(peer_->ssl(), [](int, int, int type, const void* data, std::size_t size,
                                        SSL*, void* to) {
    if (type != SSL3_RT_HANDSHAKE || size == 0) return;
    static_cast<std::vector<std::uint8_t>*>(to)->push_back(*static_cast<const std::uint8_t*>(data));
  });
  EXPECT_TRUE(driven_->write("under new keys"));
  EXPECT_EQ(peer_->read(), "under new keys");
  EXPECT_EQ(records, std::vector<std::uint8_t>{SSL3_MT_KEY_UPDATE});
}

TEST_P(ContractSim, ServerThatHasHeardNothingHasDoneNothing) {
  if (role() == Role::kClient) return;  // It speaks first.
  open();
  peer_->allowed = 0;
  EXPECT_EQ(read().error().code, Errc::kTimedOut);
  EXPECT_NE(SSL_in_before(driven_->ssl()), 0);
}

// It would take 36 KiB of memory to find out that it has to wait.
TEST_P(ContractSim, ServerBeginsOnceTheHelloIsWhole) {
  if (role() == Role::kClient) return;
  open();
  while (peer_->unread() > 1) {
    peer_->allowed = 1 + peer_->unread() / 5;
    EXPECT_EQ(read().error().code, Errc::kTimedOut);
    ASSERT_NE(SSL_in_before(driven_->ssl()), 0) << peer_->unread() << " bytes have not come";
  }
  peer_->allowed = SIZE_MAX;
  EXPECT_EQ(read().error().code, Errc::kTimedOut);
  EXPECT_NE(SSL_is_init_finished(driven_->ssl()), 0);
}

TEST_P(ContractSim, ServersEndDoesNotAwaitAHello) {
  if (role() == Role::kClient || way() == Driven::Way::kSslObject) return;  // See SslObjectEndTest.
  for (const std::size_t heard : {0U, 20U}) {
    open();
    peer_->allowed = heard;
    EXPECT_EQ(read().error().code, Errc::kTimedOut);
    if (way() == Driven::Way::kStreamTransport) {
      driven_->as_transport().shutdown_write();
      EXPECT_TRUE(peer_->ended) << heard;
    } else {
      EXPECT_TRUE(driven_->end()) << heard;
      EXPECT_EQ(driven_->write("x").error().code, Errc::kDisconnected);
    }
  }
}

TEST_P(ContractSim, PeersEndIsAnEndForGoodAndOursMayFollow) {
  shake_hands();
  peer_->say("last words");
  peer_->end();
  EXPECT_EQ(read().value(), 10U);
  EXPECT_EQ(read().value(), 0U);
  EXPECT_EQ(read().value(), 0U);
  EXPECT_TRUE(driven_->write("and ours")) << "TLS is half-closed";
  EXPECT_TRUE(driven_->end());
}

std::string name_of(const testing::TestParamInfo<Parameter>& info) {
  const auto [way, role, version] = info.param;
  return Driven::name(way) + (role == Role::kClient ? "Client" : "Server") +
         (version == TlsVersion::kTls12 ? "Tls12" : "Tls13");
}

const auto kEveryWay = testing::ValuesIn(Driven::kWays);

INSTANTIATE_TEST_SUITE_P(Ways, ContractSim,
                         testing::Combine(kEveryWay, testing::Values(Role::kClient, Role::kServer),
                                          test::kTlsVersions),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Ways, TicketContractSim,
                         testing::Combine(kEveryWay, testing::Values(Role::kClient),
                                          testing::Values(TlsVersion::kTls13)),
                         name_of);

}  // namespace
}  // namespace heddle
