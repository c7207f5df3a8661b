// SslObject: what each call does, and says. Without a runtime unless a test says so.
#include "heddle/tls/ssl_object.h"

#include <array>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <openssl/async.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"

#include "support/sim.h"
#include "support/ssl_object_pair.h"
#include "tls/machine/engine.h"

namespace heddle {
namespace {

using test::bytes;
using test::End;
using test::move;
using Kind = Progress::Kind;

class SslObjectTest : public test::SslObjectPair {};

void expect_empty(const ConnectionState& state) {
  EXPECT_FALSE(state.complete);
  EXPECT_EQ(state.version, "");
  EXPECT_EQ(state.cipher, "");
  EXPECT_EQ(state.group, "");
  EXPECT_EQ(state.signature_algorithm, "");
  EXPECT_EQ(state.alpn, "");
  EXPECT_EQ(state.server_name, "");
  EXPECT_FALSE(state.resumed);
}

// CPython: SimpleBackgroundTests.test_bio_handshake.
TEST_P(SslObjectTest, HandshakeTellsBeforeAndAfterWhatIsNegotiated) {
  for (const SslObject* tls : {&*client_.tls, &*server_.tls}) {
    expect_empty(tls->connection_state());
    EXPECT_TRUE(tls->peer_certificates().empty());
  }
  const std::array<std::string_view, 1> protocols = {"h2"};
  server_context_.set_alpn_protocols(protocols).value();
  client_context_.set_alpn_protocols(protocols).value();
  client_.open(client_context_, test::kServerName);
  handshake();
  const bool is_13 = GetParam() == TlsVersion::kTls13;
  for (const SslObject* tls : {&*client_.tls, &*server_.tls}) {
    const ConnectionState state = tls->connection_state();
    EXPECT_TRUE(state.complete);
    EXPECT_EQ(state.version, is_13 ? "TLSv1.3" : "TLSv1.2");
    EXPECT_EQ(state.cipher, is_13 ? "TLS_AES_256_GCM_SHA384" : "ECDHE-ECDSA-AES256-GCM-SHA384");
    EXPECT_NE(state.group, "");
    EXPECT_EQ(state.alpn, "h2");
    EXPECT_FALSE(state.resumed);
    EXPECT_EQ(state.server_name, test::kServerName);
    EXPECT_EQ(state.ktls_send, KernelTlsState::kNotAsked);
  }
  EXPECT_EQ(client_.tls->connection_state().signature_algorithm, "ED25519");
  EXPECT_EQ(server_.tls->connection_state().signature_algorithm, "") << "the client has not signed";
  ASSERT_EQ(client_.tls->peer_certificates().size(), 1U);
  EXPECT_EQ(client_.tls->peer_certificates()[0].sha256, test::identity().sha256);
  EXPECT_TRUE(server_.tls->peer_certificates().empty());
}

TEST_P(SslObjectTest, FailedHandshakeHasNegotiatedNothing) {
  const std::array<std::string_view, 1> protocols = {"h2"};
  server_context_.set_alpn_protocols(protocols).value();
  Context strangers = Context::create(Role::kClient, Trust::kNothing).value();
  strangers.set_versions(GetParam(), GetParam()).value();
  strangers.set_alpn_protocols(protocols).value();
  client_.open(strangers, test::kServerName);
  ASSERT_TRUE(client_.tls->handshake());
  test::move(client_.outgoing, server_.incoming);
  (void)server_.tls->handshake();
  test::move(server_.outgoing, client_.incoming);
  EXPECT_EQ(client_.tls->handshake().error().code, Errc::kUntrusted);
  test::move(client_.outgoing, server_.incoming);
  EXPECT_EQ(server_.tls->handshake().error().code, Errc::kProtocol);
  expect_empty(client_.tls->connection_state());
  expect_empty(server_.tls->connection_state());
  EXPECT_FALSE(client_.tls->peer_certificates().empty()) << "what did not verify is there";
}

// CPython: SSLObjectTests.test_check_hostname_requires_server_hostname,
// test_server_side_bad_params.
TEST_P(SslObjectTest, NamesAreRequiredOfAClientAndRefusedOfAServer) {
  MemoryBio in;
  MemoryBio out;
  EXPECT_EQ(SslObject::create(client_context_, in, out).error().code, Errc::kInvalid);
  EXPECT_EQ(SslObject::create(server_context_, in, out, {.server_name = "a.test"}).error().code,
            Errc::kInvalid);
}

TEST_P(SslObjectTest, EmptyIncomingIsWantReadNotAnEnd) {
  EXPECT_EQ(client_.tls->handshake()->kind, Kind::kWantRead);
  EXPECT_GT(client_.outgoing.pending(), 0U) << "the ClientHello";
  EXPECT_EQ(client_.read_one()->kind, Kind::kWantRead);
  EXPECT_EQ(server_.tls->handshake()->kind, Kind::kWantRead);
  EXPECT_EQ(server_.outgoing.pending(), 0U);
  handshake();
  EXPECT_EQ(client_.read_one()->kind, Kind::kWantRead);
}

// It would take 40 KiB to find out what is known.
TEST_P(SslObjectTest, ServerThatNobodySpeaksToDoesNotBegin) {
  EXPECT_EQ(server_.tls->handshake()->kind, Kind::kWantRead);
  EXPECT_EQ(server_.read_one()->kind, Kind::kWantRead);
  EXPECT_NE(SSL_in_before(server_.tls->native_handle()), 0);
  server_.incoming.write_eof();
  EXPECT_EQ(server_.tls->handshake().error().code, Errc::kTruncated);
}

// CPython: SimpleBackgroundTests.test_bio_read_write_data.
TEST_P(SslObjectTest, DataGoesBothWays) {
  handshake();
  const Progress written = client_.write("FOO\n").value();
  EXPECT_EQ(written.kind, Kind::kDone);
  EXPECT_EQ(written.bytes, 4U);
  EXPECT_EQ(server_.write("foo\n")->bytes, 4U);
  exchange();
  EXPECT_EQ(server_.read(), "FOO\n");
  EXPECT_EQ(client_.read(), "foo\n");
}

// CPython: BasicSocketTests.test_read_write_zero.
TEST_P(SslObjectTest, EmptyReadsAndWritesAreDoneAndMoveNothing) {
  EXPECT_EQ(client_.tls->read({})->kind, Kind::kDone);
  EXPECT_EQ(client_.tls->write(std::string_view())->kind, Kind::kDone);
  EXPECT_EQ(client_.outgoing.pending(), 0U) << "they began a handshake";
  handshake();
  EXPECT_TRUE(client_.write("foo"));
  exchange();
  EXPECT_EQ(server_.tls->read({})->kind, Kind::kDone);
  EXPECT_EQ(server_.read(), "foo");
  EXPECT_EQ(client_.tls->write(std::string_view())->bytes, 0U);
  EXPECT_EQ(client_.outgoing.pending(), 0U);
}

TEST_P(SslObjectTest, WriteBeforeTheHandshakeGoesThroughItAndTakesNothingUntilThen) {
  EXPECT_EQ(client_.write("first")->kind, Kind::kWantRead);
  EXPECT_EQ(client_.write("first")->bytes, 0U);
  for (int flight = 0; flight < 3; ++flight) {
    exchange();
    EXPECT_EQ(server_.read(), "");
    exchange();
    // Not a repetition: there was nothing to repeat.
    if (client_.tls->handshake()->kind == Kind::kDone) break;
  }
  const Progress written = client_.write("second, and longer").value();
  EXPECT_EQ(written.kind, Kind::kDone);
  exchange();
  EXPECT_EQ(server_.read(), "second, and longer");
}

TEST_P(SslObjectTest, PeekLeavesTheBytesAndPendingCountsThem) {
  handshake();
  EXPECT_TRUE(client_.write("seen twice"));
  exchange();
  EXPECT_EQ(server_.tls->pending(), 0U) << "nothing is decrypted before it is asked for";
  std::array<std::byte, 4> some{};
  EXPECT_EQ(server_.tls->peek(some)->bytes, 4U);
  EXPECT_EQ(server_.tls->pending(), 10U);
  EXPECT_EQ(server_.tls->read(some)->bytes, 4U);
  EXPECT_EQ(server_.tls->pending(), 6U);
  EXPECT_EQ(server_.read(), " twice");
  EXPECT_EQ(server_.tls->pending(), 0U);
}

TEST_P(SslObjectTest, LargeWriteIsTakenWhole) {
  handshake();
  const std::string large(1'000'000, 'x');
  EXPECT_EQ(client_.write(large)->bytes, large.size());
  exchange();
  EXPECT_TRUE(server_.read() == large);
}

TEST_P(SslObjectTest, ContextMayGoFirst) {
  const std::array<std::string_view, 1> protocols = {"h2"};
  client_context_.set_alpn_protocols(protocols).value();
  {
    Context context = test::server_context();
    context.set_alpn_protocols(protocols).value();
    server_.open(context, "");
  }
  client_.open(client_context_, test::kServerName);
  handshake();
  EXPECT_EQ(server_.tls->connection_state().alpn, "h2") << "chosen by a callback of the context";
}

// What a callback of `end` does, while the SslObject is inside OpenSSL.
using Callback = std::function<void()>;

void call_from_handshake(const SslObject& object, const Callback& callback) {
  SSL* const ssl = object.native_handle();
  SSL_set_msg_callback(ssl, [](int, int, int type, const void*, std::size_t, SSL* of, void* arg) {
    if (type != SSL3_RT_HANDSHAKE) return;
    try {
      (*static_cast<const Callback*>(arg))();
    } catch (...) {
      tls::Engine::of(of)->keep_exception(std::current_exception());
    }
  });
  SSL_set_msg_callback_arg(ssl, const_cast<Callback*>(&callback));
}

TEST_P(SslObjectTest, ModesOfTheSslCtxDoNotMatter) {
  for (Context* context : {&server_context_, &client_context_}) {
    SSL_CTX* const ctx = context->native_handle();
    SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ASYNC);
    SSL_CTX_set_read_ahead(ctx, 1);
  }
  open();
  bool called = false;
  const Callback callback = [&] {
    called = true;
    EXPECT_EQ(ASYNC_get_current_job(), nullptr);
  };
  call_from_handshake(*client_.tls, callback);
  (void)client_.tls->handshake().value();
  exchange();
  (void)server_.tls->handshake().value();
  exchange();
  (void)client_.tls->handshake().value();
  exchange();
  (void)server_.tls->handshake().value();
  const std::string large(100'000, 'x');
  EXPECT_EQ(server_.write(large)->bytes, large.size());
  exchange();
  EXPECT_EQ(client_.read_one()->kind, Kind::kDone) << "tickets come before data";
  EXPECT_EQ(client_.read().size(), large.size() - 1);
  EXPECT_TRUE(called);
}

TEST_P(SslObjectTest, CallbackThatUsesItsOwnObjectIsRefusedWithoutHarm) {
  int calls = 0;
  const Callback callback = [&] {
    ++calls;
    const std::array<Result<Progress>, 4> tried = {client_.tls->handshake(), client_.read_one(),
                                                   client_.write("x"), client_.tls->shutdown()};
    for (const Result<Progress>& each : tried) {
      ASSERT_FALSE(each);
      EXPECT_EQ(each.error().code, Errc::kInvalid);
    }
  };
  call_from_handshake(*client_.tls, callback);
  handshake();
  EXPECT_GT(calls, 0);
  EXPECT_TRUE(client_.write("unharmed"));
  exchange();
  EXPECT_EQ(server_.read(), "unharmed");
}

TEST_P(SslObjectTest, WhatACallbackThrowsComesOutOfTheCallAndEndsTheConnection) {
  const Callback callback = [] { throw std::runtime_error("of the user"); };
  call_from_handshake(*client_.tls, callback);
  EXPECT_THROW((void)client_.tls->handshake(), std::runtime_error);
  EXPECT_EQ(client_.tls->handshake().error().code, Errc::kDisconnected);
}

// On a runtime a callback may park. Whoever comes meanwhile must not: SslObject never does.
TEST_P(SslObjectTest, SecondFiberIsRefusedWhileACallbackOfTheFirstIsParked) {
  sim::World world(1);
  WaitQueue queue;
  bool refused = false;
  const Callback callback = [&] { (void)queue.wait(Deadline::never()); };
  world.run([&] {
    scope([&](Scope& fibers) {
      call_from_handshake(*client_.tls, callback);
      (void)fibers.spawn("first", [&] {
        EXPECT_EQ(client_.tls->handshake()->kind, Kind::kWantRead);
        EXPECT_TRUE(refused);
      });
      (void)fibers.spawn("second", [&] {
        while (queue.empty()) this_fiber::yield().value();
        const Result<Progress> meanwhile = client_.write("x");
        ASSERT_FALSE(meanwhile);
        EXPECT_EQ(meanwhile.error().code, Errc::kInvalid);
        refused = true;
        while (!queue.empty()) {
          queue.wake_all();
          this_fiber::yield().value();
        }
      });
    });
  });
}

INSTANTIATE_TEST_SUITE_P(Versions, SslObjectTest, test::kTlsVersions, test::version_name);

}  // namespace
}  // namespace heddle
