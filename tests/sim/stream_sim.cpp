// What a Stream promises, under schedules and faults.
#include <array>
#include <cstring>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"

#include "support/raw_tls.h"
#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::seconds;
using test::bytes;
using test::read_some;

class StreamSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  static constexpr Deadline kNever = Deadline::never();
  // Everything that a transport may do to a stream and is not an end.
  static constexpr sim::Faults kRough{.short_io = 3, .would_block = 4, .spurious_wake = 8};

  void open(const Context& server_context, const Context& client_context) {
    client_ = test::client(client_context, pipe_.a());
    server_ = test::server(server_context, pipe_.b());
  }

  void handshake() {
    open(server_context_, client_context_);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("server handshake", [&] { server_->handshake(kNever).value(); }));
      client_->handshake(kNever).value();
    });
  }

  // Runs `client` and `server` as two fibers beside each other.
  template <typename A, typename B>
  void together(A client, B server) {
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("client", client));
      ASSERT_TRUE(fibers.spawn("server", server));
    });
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{GetParam()};
  sim::Pipe pipe_{world_};
  std::optional<Stream> client_;
  std::optional<Stream> server_;
};

TEST_P(StreamSim, FullDuplexSurvivesFragmentsRefusalsAndSpuriousWakes) {
  pipe_.set_faults(kRough);
  constexpr std::size_t kBytes = 60'000;
  const auto pattern = [](char first) {
    std::string text(kBytes, first);
    for (int i = 0; char& each : text) each = static_cast<char>(first + i++ % 50);
    return text;
  };
  world_.run([&] {
    handshake();
    const auto send = [&](Stream& stream, char first) {
      const std::string text = pattern(first);
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t count = std::min(1 + world_.below(9'000), text.size() - at);
        stream.write(bytes(std::string_view(text).substr(at, count)), kNever).value();
        at += count;
      }
    };
    const auto receive = [&](Stream& stream, char first) {
      EXPECT_TRUE(test::read_text(stream, kBytes, kNever) == pattern(first)) << first;
    };
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("client writes", [&] { send(*client_, 'a'); }));
      ASSERT_TRUE(fibers.spawn("client reads", [&] { receive(*client_, 'A'); }));
      ASSERT_TRUE(fibers.spawn("server writes", [&] { send(*server_, 'A'); }));
      ASSERT_TRUE(fibers.spawn("server reads", [&] { receive(*server_, 'a'); }));
    });
  });
}

TEST_P(StreamSim, PeekWaitsForDataAndLeavesIt) {
  pipe_.set_faults(kRough);
  world_.run([&] {
    handshake();
    together([&] { client_->write(bytes("seen twice"), kNever).value(); },
             [&] {
               std::array<std::byte, 4> seen{};
               const std::size_t count = server_->peek(seen, kNever).value();
               ASSERT_GT(count, 0u);
               EXPECT_EQ(server_->peek({}, kNever).value(), 0u);
               const std::string text = test::read_text(*server_, 10, kNever);
               EXPECT_EQ(text, "seen twice");
               EXPECT_EQ(std::memcmp(seen.data(), text.data(), count), 0);
             });
  });
}

// Both of a connection's fibers then run the handshake, and both wait for the peer.
TEST_P(StreamSim, ReaderAndWriterMayBothBeginWithTheHandshake) {
  world_.run([&] {
    open(server_context_, client_context_);
    scope([&](Scope& fibers) {
      for (Stream* stream : {&*client_, &*server_}) {
        ASSERT_TRUE(fibers.spawn(
            "reader", [stream] { EXPECT_EQ(test::read_text(*stream, 5, kNever), "hello"); }));
        ASSERT_TRUE(fibers.spawn("writer",
                                 [stream] { EXPECT_TRUE(stream->write(bytes("hello"), kNever)); }));
      }
    });
  });
}

TEST_P(StreamSim, CutConnectionIsTruncatedNotEnded) {
  pipe_.set_faults({.short_io = 3, .cut_after = 4000});
  Errc seen = Errc::kInternal;
  world_.run([&] {
    open(server_context_, client_context_);
    together(
        [&] {
          if (!client_->handshake(kNever)) return;
          std::array<std::byte, 512> zeros{};
          while (client_->write(zeros, kNever)) {
          }
        },
        [&] {
          Result<std::size_t> got = read_some(*server_);
          while (got) {
            ASSERT_GT(*got, 0u) << "a cut connection must not look like an orderly end";
            got = read_some(*server_);
          }
          seen = got.error().code;
          EXPECT_EQ(read_some(*server_).error().code, seen) << "and it stays so";
          EXPECT_FALSE(server_->write(bytes("x"), kNever));
        });
  });
  EXPECT_EQ(seen, Errc::kTruncated);
}

TEST_P(StreamSim, CloseNotifyIsZeroForGoodAndWritingGoesOn) {
  world_.run([&] {
    handshake();
    together(
        [&] {
          client_->shutdown_write(kNever).value();
          EXPECT_TRUE(client_->shutdown_write(kNever)) << "idempotent";
          EXPECT_EQ(client_->write(bytes("x"), kNever).error().code, Errc::kDisconnected);
          EXPECT_EQ(test::read_text(*client_, 6, kNever), "answer");
          EXPECT_EQ(read_some(*client_).value(), 0u);
          EXPECT_TRUE(client_->close(kNever));
        },
        [&] {
          EXPECT_EQ(read_some(*server_).value(), 0u);
          EXPECT_EQ(read_some(*server_).value(), 0u);
          server_->write(bytes("answer"), kNever).value();
          EXPECT_TRUE(server_->close(kNever));
        });
  });
}

TEST_P(StreamSim, SilentPeerTimesOutAtTheDeadlineAndStaysFailed) {
  world_.run([&] {
    open(server_context_, client_context_);
    const Deadline deadline = world_.after(seconds(30));
    EXPECT_EQ(server_->handshake(deadline).error().code, Errc::kTimedOut);
    EXPECT_EQ(world_.now(), deadline.time());
    EXPECT_EQ(read_some(*server_).error().code, Errc::kDisconnected);
    EXPECT_EQ(server_->write(bytes("x"), kNever).error().code, Errc::kDisconnected);
  });
}

TEST_P(StreamSim, InterruptedReadLosesNothing) {
  pipe_.set_faults(kRough);
  world_.run([&] {
    handshake();
    EXPECT_EQ(read_some(*server_, world_.after(seconds(1))).error().code, Errc::kTimedOut);
    together([&] { client_->write(bytes("after all"), kNever).value(); },
             [&] { EXPECT_EQ(test::read_text(*server_, 9, kNever), "after all"); });
  });
}

TEST_P(StreamSim, InterruptedWriteEndsWritingOnly) {
  world_.run([&] {
    handshake();
    const std::string much(100'000, 'x');
    EXPECT_EQ(client_->write(bytes(much), world_.after(seconds(1))).error().code, Errc::kTimedOut);
    EXPECT_EQ(client_->write(bytes("y"), kNever).error().code, Errc::kDisconnected);
    EXPECT_EQ(client_->shutdown_write(kNever).error().code, Errc::kDisconnected);
    together([&] { server_->write(bytes("still here"), kNever).value(); },
             [&] { EXPECT_EQ(test::read_text(*client_, 10, kNever), "still here"); });
  });
}

TEST_P(StreamSim, CancelledFiberGetsItFromEveryCall) {
  world_.run([&] {
    handshake();
    scope([&](Scope& fibers) {
      auto task = fibers.spawn("reader", [&] {
        EXPECT_EQ(read_some(*server_).error().code, Errc::kCancelled);
        EXPECT_EQ(read_some(*server_).error().code, Errc::kCancelled);
      });
      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
      task->cancel();
    });
    together([&] { client_->write(bytes("x"), kNever).value(); },
             [&] { EXPECT_EQ(test::read_text(*server_, 1, kNever), "x"); });
  });
}

TEST_P(StreamSim, CloseDoesNotWaitForAMutePeerBeyondTheDeadline) {
  world_.run([&] {
    handshake();
    const Deadline deadline = world_.after(seconds(5));
    EXPECT_EQ(client_->close(deadline).error().code, Errc::kTimedOut);
    EXPECT_EQ(world_.now(), deadline.time());
    EXPECT_EQ(read_some(*server_).value(), 0u) << "close_notify was sent all the same";
  });
}

TEST_P(StreamSim, CloseOnAPeerThatNeverStopsSendingEnds) {
  world_.run([&] {
    handshake();
    together([&] { EXPECT_EQ(client_->close(kNever).error().code, Errc::kDisconnected); },
             [&] {
               std::array<std::byte, 4000> zeros{};
               const Deadline deadline = world_.after(seconds(60));
               while (server_->write(zeros, deadline)) {
               }
             });
  });
}

TEST_P(StreamSim, WrongNameAndUnknownIssuerAreUntrustedWithTheReason) {
  const Context stranger = Context::create(Role::kClient, Trust::kNothing).value();
  struct Case {
    const Context& context;
    const char* name;
    int verify_code;
  };
  for (const Case& each :
       {Case{client_context_, "other.test", X509_V_ERR_HOSTNAME_MISMATCH},
        Case{client_context_, "127.0.0.1", X509_V_ERR_IP_ADDRESS_MISMATCH},
        Case{stranger, test::kServerName, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT}}) {
    sim::Pipe pipe(world_);
    world_.run([&] {
      auto client = Stream::create(each.context, pipe.a(), {.server_name = each.name}).value();
      auto server = test::server(server_context_, pipe.b());
      together(
          [&] {
            const auto shaken = client.handshake(kNever);
            ASSERT_FALSE(shaken);
            EXPECT_EQ(shaken.error().code, Errc::kUntrusted) << shaken.error().message();
            EXPECT_EQ(shaken.error().verify_code, each.verify_code);
            EXPECT_EQ(client.peer_certificates().size(), 1u) << "for whoever wants to look";
          },
          [&] {
            // The alert that says why has been sent.
            const auto shaken = server.handshake(kNever);
            const auto got = shaken ? read_some(server) : shaken.error();
            EXPECT_EQ(got.error().code, Errc::kProtocol) << got.error().message();
          });
    });
  }
}

TEST_P(StreamSim, FlippedBitIsAProtocolFailureOnBothSides) {
  world_.run([&] {
    handshake();
    pipe_.set_faults({.flip_at = pipe_.sent_by_a() + 20});
    together(
        [&] {
          client_->write(bytes("fragile"), kNever).value();
          EXPECT_EQ(read_some(*client_).error().code, Errc::kProtocol);
        },
        [&] { EXPECT_EQ(read_some(*server_).error().code, Errc::kProtocol); });
  });
}

TEST_P(StreamSim, SmallPiecesShareARecord) {
  world_.run([&] {
    handshake();
    const std::size_t before = pipe_.sent_by_a();
    const std::array<std::span<const std::byte>, 4> pieces{bytes("status, "), bytes("headers, "),
                                                           bytes(""), bytes("body")};
    client_->write(pieces, kNever).value();
    constexpr std::size_t kRecordOverhead = 5 + 1 + 16;  // Header, content type, tag.
    EXPECT_EQ(pipe_.sent_by_a() - before, 21 + kRecordOverhead);
    EXPECT_EQ(test::read_text(*server_, 21, kNever), "status, headers, body");
  });
}

TEST_P(StreamSim, NothingToReadOrWriteReturnsAtOnce) {
  world_.run([&] {
    handshake();
    const std::size_t before = pipe_.sent_by_a();
    EXPECT_EQ(client_->read({}, kNever).value(), 0u);
    EXPECT_TRUE(client_->write(bytes(""), kNever));
    EXPECT_EQ(pipe_.sent_by_a(), before);
  });
}

// The peer's answer was complete before it went away: what we still owed it must
// not hide it.
TEST_P(StreamSim, AnswerOfAPeerThatHasGoneIsStillRead) {
  world_.run([&] {
    handshake();
    server_->write(bytes("last words"), kNever).value();
    ASSERT_EQ(SSL_key_update(client_->native_handle(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    pipe_.vanish_b();
    EXPECT_EQ(client_->write(bytes("x"), kNever).error().code, Errc::kDisconnected);
    EXPECT_EQ(test::read_text(*client_, 10, kNever), "last words");
  });
}

// Gate lets only so many bytes through to the reader, and, like a socket, knows one
// waiter per direction.
class Gate final : public Transport {
 public:
  explicit Gate(Transport& below) : below_(below) {}

  void allow(std::size_t count) {
    allowed_ = count;
    changed_.wake_all();
  }

  IoResult try_read(std::span<std::byte> into) noexcept override {
    if (allowed_ == 0) return {IoResult::Kind::kWouldBlock};
    const IoResult io = below_.try_read(into.first(std::min(into.size(), allowed_)));
    allowed_ -= io.bytes;
    return io;
  }
  IoResult try_write(std::span<const std::byte> from) noexcept override {
    return below_.try_write(from);
  }
  Wake wait(Interest interest, Deadline deadline) override {
    EXPECT_FALSE(waiting_) << "two fibers wait for one direction";
    waiting_ = true;
    const Wake wake = allowed_ == 0 ? changed_.wait(deadline) : below_.wait(interest, deadline);
    waiting_ = false;
    return wake;
  }

 private:
  Transport& below_;
  std::size_t allowed_ = SIZE_MAX;
  bool waiting_ = false;
  WaitQueue changed_;
};

// Over a transport that holds less than the tickets, a client writes before it reads.
TEST_P(StreamSim, NobodyWaitsForTicketsToBeRead) {
  world_.run([&] {
    pipe_.set_faults({.capacity_of_a = 64, .capacity_of_b = 64});
    client_ = test::client(client_context_, pipe_.a());
    server_ = test::server(server_context_, pipe_.b());
    const Deadline deadline = world_.after(seconds(10));
    const std::string request(2000, 'x');
    together(
        [&] {
          client_->handshake(deadline).value();
          client_->write(bytes(request), deadline).value();
          EXPECT_EQ(test::read_text(*client_, 6, deadline), "answer");
        },
        [&] {
          server_->handshake(deadline).value();
          EXPECT_EQ(test::read_text(*server_, request.size(), deadline), request);
          server_->write(bytes("answer"), deadline).value();
        });
    EXPECT_TRUE(client_->session().value().is_resumable()) << "the tickets have come";
  });
}

// With half a session ticket read, OpenSSL makes a writer wait for the rest: beside
// the reader, which waits for the same.
TEST_P(StreamSim, WriterWaitsBesideTheReaderWhileHalfATicketHasCome) {
  Context mutual = test::server_context();
  mutual.set_verify_mode(VerifyMode::kRequired);
  const Identity& who = test::identity(KeyType::kRsa2048);
  mutual.add_trusted_certificates(bytes(who.certificate_pem)).value();
  // The ticket holds the client's certificate, and so takes several records.
  ASSERT_EQ(SSL_CTX_set_max_send_fragment(mutual.native_handle(), 512), 1);
  client_context_.use_cert_chain(who.certificate_pem, who.key_pem).value();
  Gate gate(pipe_.a());
  world_.run([&] {
    client_ = test::client(client_context_, gate);
    server_ = test::server(mutual, pipe_.b());
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("server", [&] {
        server_->handshake(kNever).value();
        EXPECT_EQ(test::read_text(*server_, 4, kNever), "ping");
        server_->write(bytes("pong"), kNever).value();
      }));
      client_->handshake(kNever).value();
      gate.allow(700);
      ASSERT_TRUE(
          fibers.spawn("reader", [&] { EXPECT_EQ(test::read_text(*client_, 4, kNever), "pong"); }));
      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
      ASSERT_TRUE(
          fibers.spawn("writer", [&] { EXPECT_TRUE(client_->write(bytes("ping"), kNever)); }));
      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
      ASSERT_TRUE(SSL_in_init(client_->native_handle())) << "the ticket is half read";
      gate.allow(SIZE_MAX);
    });
  });
}

// A KeyUpdate asks the reader for an answer that nobody will take any more.
TEST_P(StreamSim, ReaderThatCannotAnswerAKeyUpdateReadsOn) {
  Gate gate(pipe_.a());
  world_.run([&] {
    client_ = test::client(client_context_, gate);
    server_ = test::server(server_context_, pipe_.b());
    together([&] { client_->handshake(kNever).value(); },
             [&] { server_->handshake(kNever).value(); });
    EXPECT_EQ(read_some(*client_, world_.after(seconds(1))).error().code, Errc::kTimedOut);
    const std::size_t before = pipe_.sent_by_b();
    // OpenSSL answers the first when it sees the second.
    for (int i = 0; i < 2; ++i) {
      ASSERT_EQ(SSL_key_update(server_->native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
      server_->handshake(kNever).value();
    }
    gate.allow(pipe_.sent_by_b() - before);
    server_->write(bytes("last words"), kNever).value();
    pipe_.vanish_b();
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn(
          "reader", [&] { EXPECT_EQ(test::read_text(*client_, 10, kNever), "last words"); }));
      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
      gate.allow(SIZE_MAX);
    });
    EXPECT_EQ(client_->write(bytes("x"), kNever).error().code, Errc::kDisconnected);
  });
}

// Takes long, so few seeds.
class UnreadAnswersSim : public StreamSim {};

// Each KeyUpdate asks for an answer, and the peer does not read: the answers must
// not pile up in our memory. It sends data as well, so that it is not cut off.
TEST_P(UnreadAnswersSim, PeerThatAsksAndNeverReadsIsHeldBack) {
  world_.run([&] {
    handshake();
    pipe_.set_faults({.capacity_of_a = 0, .capacity_of_b = 65536});
    constexpr std::size_t kSentMax = std::size_t{768} * 1024;
    const std::size_t before = pipe_.sent_by_b();
    const Deadline deadline = world_.after(seconds(60));
    together(
        [&] {
          Result<std::size_t> got = std::size_t{0};
          while (got) got = read_some(*client_, deadline);
          EXPECT_EQ(got.error().code, Errc::kTimedOut);
        },
        [&] {
          bool going = true;
          while (going && pipe_.sent_by_b() - before < kSentMax) {
            going = server_->write(bytes("x"), deadline).has_value();
            for (int i = 0; i < 20; ++i) {
              (void)SSL_key_update(server_->native_handle(), SSL_KEY_UPDATE_REQUESTED);
              going = going && server_->handshake(deadline).has_value();
            }
          }
        });
    EXPECT_LT(pipe_.sent_by_b() - before, kSentMax) << "the client reads on and on";
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, StreamSim, test::seeds(1, 65), test::kSeedName);
INSTANTIATE_TEST_SUITE_P(Seeds, UnreadAnswersSim, test::seeds(1, 4), test::kSeedName);

}  // namespace
}  // namespace heddle
