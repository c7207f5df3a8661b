// Hand-over: who owns what, what goes along, and code that knows OpenSSL only.
#include "heddle/tls/native.h"

#include <sys/socket.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "heddle/fiber.h"

#include "openssl/handles.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using test::bytes;

// ---- Somebody else's code: C, but for the casts. It knows OpenSSL and two functions that block.

struct Wire {
  void* data;
  int (*send)(void* data, const char* from, int size);  // All of it: 1. Else 0.
  int (*receive)(void* data, char* into, int size);     // Number of bytes, 0 at the end.
};

int send_all(BIO* network, const Wire* wire) {
  char buffer[1000];
  int size = 0;
  while ((size = BIO_read(network, buffer, sizeof buffer)) > 0) {
    if (wire->send(wire->data, buffer, size) == 0) return 0;
  }
  return 1;
}

int receive_some(BIO* network, const Wire* wire) {
  char buffer[1000];
  const int room = static_cast<int>(BIO_ctrl_get_write_guarantee(network));
  const int wanted = room < 1000 ? room : 1000;
  const int size = wire->receive(wire->data, buffer, wanted);
  return size > 0 && BIO_write(network, buffer, size) == size;
}

// Whether the call that returned `rc` is to be made again.
int again(SSL* ssl, BIO* network, const Wire* wire, int rc) {
  const int error = SSL_get_error(ssl, rc);
  if (send_all(network, wire) == 0) return 0;
  if (error == SSL_ERROR_WANT_READ) return receive_some(network, wire);
  return error == SSL_ERROR_WANT_WRITE;
}

int shake_hands(SSL* ssl, BIO* network, const Wire* wire) {
  int rc = 0;
  do {
    rc = SSL_do_handshake(ssl);
  } while (rc != 1 && again(ssl, network, wire, rc) != 0);
  return rc == 1 && send_all(network, wire) != 0;
}

int write_all(SSL* ssl, BIO* network, const Wire* wire, const char* from, int size) {
  int rc = 0;
  do {
    rc = SSL_write(ssl, from, size);
  } while (rc <= 0 && again(ssl, network, wire, rc) != 0);
  return rc == size && send_all(network, wire) != 0;
}

int read_all(SSL* ssl, BIO* network, const Wire* wire, char* into, int size) {
  int have = 0;
  while (have < size) {
    const int rc = SSL_read(ssl, into + have, size - have);
    if (rc > 0) have += rc;
    if (rc <= 0 && again(ssl, network, wire, rc) == 0) break;
  }
  return have;
}

// ---- End of it.

// The functions that block, over a transport: they park the fiber.
Wire wire_over(Transport& transport) {
  return {.data = &transport,
          .send =
              [](void* data, const char* from, int size) {
                Transport& to = *static_cast<Transport*>(data);
                auto rest = bytes({from, static_cast<std::size_t>(size)});
                while (!rest.empty()) {
                  const IoResult io = to.try_write(rest);
                  if (io.kind == IoResult::Kind::kBytes) rest = rest.subspan(io.bytes);
                  if (io.kind == IoResult::Kind::kFailed) return 0;
                  if (io.kind == IoResult::Kind::kWouldBlock) {
                    (void)to.wait(Interest::kWrite, Deadline::never());
                  }
                }
                return 1;
              },
          .receive =
              [](void* data, char* into, int size) {
                Transport& from = *static_cast<Transport*>(data);
                const auto room =
                    std::as_writable_bytes(std::span(into, static_cast<std::size_t>(size)));
                IoResult io = from.try_read(room);
                while (io.kind == IoResult::Kind::kWouldBlock) {
                  (void)from.wait(Interest::kRead, Deadline::never());
                  io = from.try_read(room);
                }
                return io.kind == IoResult::Kind::kBytes ? static_cast<int>(io.bytes) : 0;
              }};
}

// Tells when it goes.
class Owned final : public Transport {
 public:
  explicit Owned(bool& gone) : gone_(gone) {}
  ~Owned() override { gone_ = true; }
  IoResult try_read(std::span<std::byte> /*into*/) override { return {IoResult::Kind::kEnd}; }
  IoResult try_write(std::span<const std::byte> from) override {
    return {IoResult::Kind::kBytes, from.size()};
  }
  Wake wait(Interest /*interest*/, Deadline /*deadline*/) override { return Wake::kReady; }

 private:
  bool& gone_;
};

class NativeTest : public testing::TestWithParam<TlsVersion> {
 protected:
  static constexpr Deadline kNever = Deadline::never();

  NativeTest() {
    for (Context* context : {&server_context_, &client_context_}) {
      context->set_versions(GetParam(), GetParam()).value();
    }
  }

  // Every test runs both, in two fibers.
  template <typename A, typename B>
  void together(A mine, B peers) {
    world_.run([&] {
      scope([&](Scope& fibers) {
        ASSERT_TRUE(fibers.spawn("other code", mine));
        ASSERT_TRUE(fibers.spawn("peer", peers));
      });
    });
  }

  NakedConnection naked_client(std::size_t pair_bytes = NakedConnection::kPairBytes) {
    return NakedConnection::create(client_context_, {.server_name = test::kServerName}, pair_bytes)
        .value();
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{7};
  sim::Pipe pipe_{world_, {.short_io = 3, .would_block = 4, .spurious_wake = 8}};
  Wire wire_ = wire_over(pipe_.a());
};

TEST_P(NativeTest, CodeThatKnowsOpenSslOnlyTalksToAStream) {
  const std::string large(100'000, 'x');
  for (const bool is_client : {true, false}) {
    // Half the size of a record: the SSL must wait to write, too.
    NakedConnection naked = is_client ? naked_client(8'192)
                                      : NakedConnection::create(server_context_, {}, 8'192).value();
    together(
        [&] {
          SSL* const ssl = naked.ssl.get();
          BIO* const network = naked.network.get();
          ASSERT_EQ(shake_hands(ssl, network, &wire_), 1);
          const int size = static_cast<int>(large.size());
          ASSERT_EQ(write_all(ssl, network, &wire_, large.data(), size), 1);
          std::array<char, 5> answer{};
          ASSERT_EQ(read_all(ssl, network, &wire_, answer.data(), 5), 5);
          EXPECT_EQ(std::string_view(answer.data(), 5), "thank");
          EXPECT_EQ(SSL_shutdown(ssl), 0);
          ASSERT_EQ(send_all(network, &wire_), 1);
        },
        [&] {
          auto stream = is_client ? test::server(server_context_, pipe_.b())
                                  : test::client(client_context_, pipe_.b());
          EXPECT_TRUE(test::read_text(stream, large.size(), kNever) == large);
          stream.write(bytes("thank"), kNever).value();
          EXPECT_EQ(test::read_text(stream, 1, kNever), "") << "close_notify";
        });
  }
}

// What AddressSanitizer and its leak check are for.
TEST_P(NativeTest, EitherHalfIsFreedFirstByWhoeverHasIt) {
  for (const bool ssl_first : {true, false}) {
    NakedConnection naked = naked_client();
    SSL* const ssl = naked.ssl.release();
    BIO* const network = naked.network.release();
    EXPECT_EQ(SSL_do_handshake(ssl), -1);
    if (ssl_first) {
      SSL_free(ssl);
      char some[100];
      EXPECT_LE(BIO_read(network, some, sizeof some), 0);
      BIO_free(network);
    } else {
      BIO_free(network);
      ERR_clear_error();
      EXPECT_LT(SSL_do_handshake(ssl), 1);
      SSL_free(ssl);
    }
    ERR_clear_error();
  }
  const NakedConnection kept = naked_client();  // Or by the handles.
}

TEST_P(NativeTest, ContextGoesFirstAndItsCallbacksStay) {
  const std::array<std::string_view, 1> protocols = {"h2"};
  client_context_.set_alpn_protocols(protocols).value();
  NakedConnection naked = [&] {
    Context context = test::server_context();
    context.set_alpn_protocols(protocols).value();
    return NakedConnection::create(context).value();
  }();
  together([&] { EXPECT_EQ(shake_hands(naked.ssl.get(), naked.network.get(), &wire_), 1); },
           [&] {
             auto stream = test::client(client_context_, pipe_.b());
             EXPECT_TRUE(stream.handshake(kNever));
             EXPECT_EQ(stream.connection_state().alpn, "h2");
           });
}

TEST_P(NativeTest, NamesAreCheckedAsByStream) {
  EXPECT_EQ(NakedConnection::create(client_context_).error().code, Errc::kInvalid);
  EXPECT_EQ(NakedConnection::create(server_context_, {.server_name = "a.test"}).error().code,
            Errc::kInvalid);
}

TEST_P(NativeTest, StreamGoesOnWithWhatOtherCodeBegan) {
  NakedConnection naked = naked_client();
  together(
      [&] {
        SSL* const ssl = naked.ssl.get();
        ASSERT_EQ(shake_hands(ssl, naked.network.get(), &wire_), 1);
        // Decrypted and not read; received and not decrypted; written and not sent.
        char first = 0;
        ASSERT_EQ(read_all(ssl, naked.network.get(), &wire_, &first, 1), 1);
        while (BIO_ctrl_pending(SSL_get_rbio(ssl)) < 40) {
          ASSERT_EQ(receive_some(naked.network.get(), &wire_), 1);
        }
        ASSERT_EQ(SSL_write(ssl, "unsent, ", 8), 8);

        auto stream = Stream::adopt(std::move(naked), pipe_.a()).value();
        EXPECT_EQ(stream.connection_state().version,
                  GetParam() == TlsVersion::kTls12 ? "TLSv1.2" : "TLSv1.3");
        EXPECT_EQ(first + test::read_text(stream, 99, kNever),
                  std::string(50, 'a') + std::string(50, 'b'));
        stream.write(bytes("and on"), kNever).value();
        EXPECT_TRUE(stream.close(kNever));
      },
      [&] {
        auto stream = test::server(server_context_, pipe_.b());
        stream.write(bytes(std::string(50, 'a')), kNever).value();
        stream.write(bytes(std::string(50, 'b')), kNever).value();
        EXPECT_EQ(test::read_text(stream, 14, kNever), "unsent, and on");
        EXPECT_EQ(test::read_text(stream, 1, kNever), "");
        EXPECT_TRUE(stream.close(kNever));
      });
}

// Before the handshake, and with a ClientHello that lies in the pair.
TEST_P(NativeTest, StreamCompletesTheHandshakeThatOtherCodeBegan) {
  for (const bool begun : {false, true}) {
    sim::Pipe pipe(world_);
    NakedConnection naked = naked_client();
    together(
        [&] {
          ASSERT_TRUE(!begun || SSL_do_handshake(naked.ssl.get()) == -1);
          auto stream = Stream::adopt(std::move(naked), pipe.a()).value();
          stream.write(bytes("hello"), kNever).value();
        },
        [&] {
          auto stream = test::server(server_context_, pipe.b());
          EXPECT_EQ(test::read_text(stream, 5, kNever), "hello");
        });
  }
}

// An SSL with all that a Stream could do without, over memory BIOs.
TEST_P(NativeTest, SslOfOtherMakeIsAdoptedWhateverItsModes) {
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_method()));
  SSL_CTX_clear_mode(ctx.get(), SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ASYNC);
  SSL_CTX_set_read_ahead(ctx.get(), 1);
  UniqueSsl ssl(SSL_new(ctx.get()));
  SSL_set_connect_state(ssl.get());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  EXPECT_EQ(SSL_do_handshake(ssl.get()), -1);
  const std::string large(200'000, 'x');
  together(
      [&] {
        auto stream = Stream::adopt({.ssl = std::move(ssl), .network = nullptr}, pipe_.a()).value();
        constexpr std::size_t kHalf = 100'000;
        const std::array<std::span<const std::byte>, 2> pieces = {bytes(large).first(kHalf),
                                                                  bytes(large).last(kHalf)};
        stream.write(pieces, kNever).value();
        EXPECT_TRUE(test::read_text(stream, large.size(), kNever) == large);
      },
      [&] {
        auto stream = test::server(server_context_, pipe_.b());
        EXPECT_TRUE(test::read_text(stream, large.size(), kNever) == large);
        stream.write(bytes(large), kNever).value();
      });
}

TEST_P(NativeTest, WhatASocketHasNotReadIsForTheTransport) {
  std::array<int, 2> sockets{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets.data()), 0);
  UniqueSsl ssl = naked_client().ssl;
  BIO* const bio = BIO_new_socket(sockets[0], BIO_NOCLOSE);
  SSL_set_bio(ssl.get(), bio, bio);
  EXPECT_EQ(::write(sockets[1], "of the peer", 11), 11);
  EXPECT_TRUE(Stream::adopt({.ssl = std::move(ssl), .network = nullptr}, pipe_.a()));
  std::array<char, 20> some{};
  EXPECT_EQ(::read(sockets[0], some.data(), some.size()), 11);
  ::close(sockets[0]);
  ::close(sockets[1]);
}

// A cut connection stays one, whatever its owner has made of it.
TEST_P(NativeTest, TruncationIsOneAlsoWhereTheOwnerIgnoresIt) {
  NakedConnection naked = naked_client();
  SSL_set_options(naked.ssl.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  together(
      [&] {
        auto stream = Stream::adopt(std::move(naked), pipe_.a()).value();
        EXPECT_EQ(test::read_text(stream, 5, kNever), "hello");
        EXPECT_EQ(test::read_some(stream).error().code, Errc::kTruncated);
      },
      [&] {
        auto stream = test::server(server_context_, pipe_.b());
        stream.write(bytes("hello"), kNever).value();
        pipe_.b().shutdown_write();
      });
}

TEST_P(NativeTest, NothingIsWrittenAfterACloseNotifyOfOtherCode) {
  NakedConnection naked = naked_client();
  together(
      [&] {
        SSL* const ssl = naked.ssl.get();
        ASSERT_EQ(shake_hands(ssl, naked.network.get(), &wire_), 1);
        ASSERT_EQ(SSL_shutdown(ssl), 0);
        auto stream = Stream::adopt(std::move(naked), pipe_.a()).value();
        EXPECT_EQ(stream.write(bytes("more"), kNever).error().code, Errc::kDisconnected);
        // It only sends what lies in the pair, and does not wait for the peer.
        EXPECT_TRUE(stream.shutdown_write(kNever));
        const std::size_t sent = pipe_.sent_by_a();
        EXPECT_EQ(test::read_text(stream, 5, kNever), "hello");  // And a KeyUpdate before it.
        EXPECT_EQ(pipe_.sent_by_a(), sent);
      },
      [&] {
        auto stream = test::server(server_context_, pipe_.b());
        EXPECT_EQ(test::read_text(stream, 1, kNever), "") << "the end";
        if (GetParam() == TlsVersion::kTls13) {
          ASSERT_EQ(SSL_key_update(stream.native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
        }
        stream.write(bytes("hello"), kNever).value();
      });
}

// A BIO that says what a socket's says when the kernel has the keys.
TEST_P(NativeTest, ConnectionOfTheKernelsIsRefused) {
  for (const int question : {BIO_CTRL_GET_KTLS_SEND, BIO_CTRL_GET_KTLS_RECV}) {
    static int answered = 0;
    answered = question;
    const openssl::BioMethodPtr method(BIO_meth_new(BIO_TYPE_SOURCE_SINK, "kernel"));
    BIO_meth_set_ctrl(method.get(), [](BIO* /*bio*/, int asked, long /*number*/,
                                       void* /*pointer*/) { return asked == answered ? 1L : 0L; });
    UniqueSsl ssl = naked_client().ssl;
    BIO* const bio = BIO_new(method.get());
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl.get(), bio, bio);
    auto refused = Stream::adopt({.ssl = std::move(ssl), .network = nullptr}, pipe_.a());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
  }
}

TEST_P(NativeTest, StreamOwnsWhatItAdopts) {
  bool gone = false;
  std::optional<Stream> stream =
      Stream::adopt(naked_client(), std::make_unique<Owned>(gone)).value();
  EXPECT_EQ(stream->handshake(kNever).error().code, Errc::kTruncated);
  EXPECT_FALSE(gone);
  stream.reset();
  EXPECT_TRUE(gone);
}

TEST_P(NativeTest, DatagramsAreRefusedAndFreed) {
  const openssl::SslCtxPtr ctx(SSL_CTX_new(DTLS_method()));
  UniqueSsl ssl(SSL_new(ctx.get()));
  SSL_set_connect_state(ssl.get());
  auto refused = Stream::adopt({.ssl = std::move(ssl), .network = nullptr}, pipe_.a());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
  EXPECT_EQ(Context::adopt(Role::kClient, ctx.get()).error().code, Errc::kInvalid);
}

TEST_P(NativeTest, AdoptedContextSharesTheSslCtxWithItsOtherUsers) {
  ERR_clear_error();
  ERR_raise(ERR_LIB_USER, 42);
  openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_server_method()));
  EXPECT_EQ(Context::adopt(Role::kClient, ctx.get()).error().code, Errc::kInvalid);
  const Identity& identity = test::identity();
  const std::array<std::string_view, 1> protocols = {"h2"};
  client_context_.set_alpn_protocols(protocols).value();
  {
    Context context = Context::adopt(Role::kServer, ctx.get()).value();
    EXPECT_EQ(context.native_handle(), ctx.get());
    context.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
    context.set_alpn_protocols(protocols).value();
  }
  EXPECT_EQ(ERR_GET_REASON(ERR_get_error()), 42);
  EXPECT_EQ(ERR_peek_error(), 0U);
  // The Context is gone, what it set is not.
  NakedConnection theirs{.ssl = UniqueSsl(SSL_new(ctx.get())), .network = nullptr};
  SSL_set_accept_state(theirs.ssl.get());
  // And the other way: the Context outlives the reference that it was made of.
  Context context = Context::adopt(Role::kServer, ctx.get()).value();
  ctx.reset();
  together(
      [&] {
        auto stream = Stream::adopt(std::move(theirs), pipe_.a()).value();
        EXPECT_TRUE(stream.handshake(kNever));
        EXPECT_EQ(stream.connection_state().alpn, "h2");
      },
      [&] { EXPECT_TRUE(test::client(client_context_, pipe_.b()).handshake(kNever)); });
  sim::Pipe second(world_);
  together([&] { EXPECT_TRUE(test::server(context, second.a()).handshake(kNever)); },
           [&] { EXPECT_TRUE(test::client(client_context_, second.b()).handshake(kNever)); });
}

TEST_P(NativeTest, OneSslCtxServesBothRoles) {
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_method()));
  const Identity& identity = test::identity();
  Context server = Context::adopt(Role::kServer, ctx.get()).value();
  Context client = Context::adopt(Role::kClient, ctx.get()).value();
  EXPECT_EQ(server.role(), Role::kServer);
  EXPECT_EQ(client.role(), Role::kClient);
  server.use_cert_chain(identity.certificate_pem, identity.key_pem).value();
  client.add_trusted_certificates(bytes(identity.certificate_pem)).value();
  EXPECT_TRUE(client.check_hostname()) << "a client asks for a name";
  EXPECT_EQ(Stream::create(client, pipe_.a()).error().code, Errc::kInvalid);
  client.set_check_hostname(false);
  EXPECT_TRUE(Stream::create(client, pipe_.a()));
  client.set_check_hostname(true);
  together([&] { EXPECT_TRUE(test::client(client, pipe_.a()).handshake(kNever)); },
           [&] { EXPECT_TRUE(test::server(server, pipe_.b()).handshake(kNever)); });
}

INSTANTIATE_TEST_SUITE_P(Versions, NativeTest,
                         testing::Values(TlsVersion::kTls12, TlsVersion::kTls13),
                         [](const auto& of) {
                           return of.param == TlsVersion::kTls12 ? "tls12" : "tls13";
                         });

}  // namespace
}  // namespace heddle
