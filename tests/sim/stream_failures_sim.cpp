// What a stream says of calls that fail, are interrupted, or come after such a call.
#include <array>
#include <chrono>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"

#include "openssl/handles.h"
#include "support/sim.h"
#include "support/tls_over_tcp.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::bytes;
using test::read_some;
using test::together;

constexpr Deadline kNever = Deadline::never();

// A transport over another one, which can be full, or have failed.
class Valve final : public Transport {
 public:
  explicit Valve(Transport& below) : below_(below) {}

  bool closed = false;
  bool broken = false;
  std::size_t taken = 0;

  void change() { waiters_.wake_all(); }

  IoResult try_read(std::span<std::byte> into) override {
    if (broken) return {IoResult::Kind::kFailed, 0, ECONNRESET};
    return below_.try_read(into);
  }
  IoResult try_write(std::span<const std::byte> from) override {
    if (broken) return {IoResult::Kind::kFailed, 0, EPIPE};
    if (closed) return {IoResult::Kind::kWouldBlock};
    const IoResult io = below_.try_write(from);
    if (io.kind == IoResult::Kind::kBytes) taken += io.bytes;
    return io;
  }
  Wake wait(Interest interest, Deadline deadline) override {
    if (broken) return Wake::kReady;
    if (closed) return waiters_.wait(deadline);
    return below_.wait(interest, deadline);
  }
  void shutdown_write() noexcept override { below_.shutdown_write(); }

 private:
  Transport& below_;
  WaitQueue waiters_;
};

class StreamFailuresSim : public testing::Test {
 protected:
  // Runs `body` with a client over `valve_`, and a server.
  template <typename Body>
  void run(Body body) {
    world_.run([&] {
      client_ = test::client(client_context_, valve_);
      server_ = test::server(server_context_, pipe_.b());
      body();
      client_.reset();
      server_.reset();
    });
  }

  void shake() {
    together(
        {[&] { client_->handshake(kNever).value(); }, [&] { server_->handshake(kNever).value(); }});
    // The tickets of TLS 1.3.
    together({[&] { server_->write(bytes("x"), kNever).value(); },
              [&] { EXPECT_EQ(test::read_text(*client_, 1, kNever), "x"); }});
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{1};
  sim::Pipe pipe_{world_};
  Valve valve_{pipe_.a()};
  std::optional<Stream> client_;
  std::optional<Stream> server_;
};

TEST_F(StreamFailuresSim, LoopOverAFailedConnectionLetsOthersRun) {
  run([&] {
    shake();
    valve_.broken = true;
    ASSERT_FALSE(read_some(*client_));
    bool other_has_run = false;
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("other", [&] { other_has_run = true; }));
      for (int i = 0; i < 1000 && !other_has_run; ++i) EXPECT_FALSE(read_some(*client_));
      EXPECT_TRUE(other_has_run);
      other_has_run = false;
      ASSERT_TRUE(fibers.spawn("other", [&] { other_has_run = true; }));
      for (int i = 0; i < 1000 && !other_has_run; ++i) {
        EXPECT_FALSE(client_->write(bytes("x"), kNever));
      }
      EXPECT_TRUE(other_has_run);
    });
  });
}

TEST_F(StreamFailuresSim, LargeWriteLetsOthersRun) {
  run([&] {
    shake();
    const std::string much(std::size_t{8} << 20, 'x');
    int turns = 0;
    bool over = false;  // Outlives the fibers, as what is in the scope's function does not.
    scope([&](Scope& fibers) {
      auto reader = fibers.spawn("reader", [&] { test::read_text(*server_, much.size(), kNever); });
      ASSERT_TRUE(reader);
      ASSERT_TRUE(fibers.spawn("other", [&] {
        while (!over) {
          this_fiber::yield().value();
          ++turns;
        }
      }));
      client_->write(bytes(much), kNever).value();
      over = true;
    });
    EXPECT_GE(turns, 8);
  });
}

// The callback's error is what the call fails with. That OpenSSL has failed the handshake for it is
// for good, and must not look like something to be repeated.
TEST_F(StreamFailuresSim, HandshakeWhoseCallbackGaveUpInvitesNobodyToRepeat) {
  server_context_.on_certificate(
      [](const ConnectionView& connection) -> Result<std::optional<Credentials>> {
        (void)this_fiber::sleep_until(connection.deadline());
        return Error{.code = Errc::kTimedOut, .operation = "find a certificate"};
      });
  run([&] {
    together({[&] { EXPECT_FALSE(client_->handshake(kNever)); },
              [&] {
                EXPECT_EQ(read_some(*server_, world_.after(milliseconds(10))).error().code,
                          Errc::kTimedOut);
                const auto later = world_.after(milliseconds(10));
                EXPECT_EQ(read_some(*server_, later).error().code, Errc::kDisconnected);
                EXPECT_EQ(server_->write(bytes("x"), later).error().code, Errc::kDisconnected);
                EXPECT_EQ(server_->handshake(later).error().code, Errc::kDisconnected);
                EXPECT_EQ(server_->shutdown_write(later).error().code, Errc::kDisconnected);
              }});
  });
}

TEST_F(StreamFailuresSim, InterruptedReadBeforeTheHandshakeMayBeRepeated) {
  run([&] {
    EXPECT_EQ(read_some(*server_, world_.after(milliseconds(1))).error().code, Errc::kTimedOut);
    EXPECT_NE(SSL_in_before(server_->native_handle()), 0) << "OpenSSL has been asked for nothing";
    together({[&] { client_->write(bytes("x"), kNever).value(); },
              [&] { EXPECT_EQ(test::read_text(*server_, 1, kNever), "x"); }});
  });
}

// A reader that meets the failure first drops what a writer waits to send.
TEST_F(StreamFailuresSim, WriterIsToldThatAReaderHasDroppedItsOutput) {
  const test::ScratchFile file(std::string(60'000, 'x'));
  const std::array<std::function<Result<void>()>, 3> writes = {
      [&] { return client_->write(bytes(std::string(60'000, 'x')), kNever); },
      [&]() -> Result<void> {
        const auto sent = client_->sendfile(file.fd(), 0, 60'000, kNever);
        if (!sent) return sent.error();
        return {};
      },
      [&] { return client_->shutdown_write(kNever); }};
  for (const auto& write : writes) {
    valve_.broken = valve_.closed = false;
    sim::Pipe pipe(world_);
    world_.run([&] {
      Valve valve(pipe.a());
      client_ = test::client(client_context_, valve);
      server_ = test::server(server_context_, pipe.b());
      shake();
      valve.closed = true;
      together({[&] {
                  const auto written = write();
                  ASSERT_FALSE(written);
                  EXPECT_EQ(written.error().code, Errc::kDisconnected);
                },
                [&] {
                  this_fiber::sleep_until(world_.after(milliseconds(1))).value();
                  valve.broken = true;
                  EXPECT_FALSE(read_some(*client_));
                  valve.change();
                }});
      client_.reset();
      server_.reset();
    });
  }
}

class EndThatTimedOut : public StreamFailuresSim, public testing::WithParamInterface<bool> {};

TEST_P(EndThatTimedOut, IsSaidByTheNextCall) {
  const bool by_close = GetParam();
  run([&] {
    shake();
    client_->write(bytes("all"), kNever).value();
    valve_.closed = true;
    EXPECT_EQ(client_->shutdown_write(world_.after(milliseconds(5))).error().code, Errc::kTimedOut);
    EXPECT_EQ(client_->write(bytes("more"), kNever).error().code, Errc::kDisconnected);
    valve_.closed = false;
    together({[&] {
                if (!by_close) return client_->shutdown_write(kNever).value();
                EXPECT_FALSE(client_->close(world_.after(milliseconds(5))));
              },
              [&] {
                EXPECT_EQ(test::read_text(*server_, 3, kNever), "all");
                EXPECT_EQ(read_some(*server_).value(), 0U);
              }});
    if (!by_close) client_->shutdown_write(kNever).value();
  });
}

INSTANTIATE_TEST_SUITE_P(By, EndThatTimedOut, testing::Bool(),
                         [](const auto& made) { return made.param ? "Close" : "ShutdownWrite"; });

// A server that greets before it has the client's Finished (RFC 8446, 2.3: 0.5-RTT data), by hand.
class EarlyServer {
 public:
  explicit EarlyServer(SSL_CTX* ctx) : ssl_(SSL_new(ctx)) {
    SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(ssl_.get());
  }

  void take_and_greet(Transport& transport) {
    take(transport);
    std::size_t count = 0;
    std::array<char, 16> none{};
    (void)SSL_read_early_data(ssl_.get(), none.data(), none.size(), &count);
    ASSERT_EQ(SSL_write_early_data(ssl_.get(), "220 hello", 9, &count), 1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(ssl_.get()), &data);
    const std::string_view text(data, static_cast<std::size_t>(size));
    for (std::size_t at = 0; at < text.size();) {
      const IoResult io = transport.try_write(bytes(text.substr(at)));
      ASSERT_EQ(io.kind, IoResult::Kind::kBytes);
      at += io.bytes;
    }
  }

  bool has_finished(Transport& transport) {
    take(transport);
    return SSL_do_handshake(ssl_.get()) == 1;
  }

 private:
  void take(Transport& transport) {
    std::array<std::byte, 4096> some{};
    for (;;) {
      const IoResult io = transport.try_read(some);
      if (io.kind != IoResult::Kind::kBytes) return;
      BIO_write(SSL_get_rbio(ssl_.get()), some.data(), static_cast<int>(io.bytes));
    }
  }

  openssl::SslPtr ssl_;
};

TEST_F(StreamFailuresSim, ReadThatDoesTheHandshakeSendsItsFinished) {
  SSL_CTX_set_max_early_data(server_context_.native_handle(), 16384);
  run([&] {
    EarlyServer server(server_context_.native_handle());
    together({[&] { EXPECT_EQ(test::read_text(*client_, 9, kNever), "220 hello"); },
              [&] {
                while (pipe_.sent_by_a() == 0) this_fiber::yield().value();
                server.take_and_greet(pipe_.b());
              }});
    EXPECT_TRUE(server.has_finished(pipe_.b()));
  });
}

}  // namespace
}  // namespace heddle
