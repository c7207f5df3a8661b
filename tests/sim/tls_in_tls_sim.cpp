// TLS in TLS: a stream over a StreamTransport keeps a stream's promises, to any depth.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/tls/stream.h"
#include "heddle/tls/stream_transport.h"

#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::bytes;
using test::read_some;

constexpr Deadline kNever = Deadline::never();
constexpr sim::Faults kRough{.short_io = 3, .would_block = 4, .spurious_wake = 8};

// Tower is one end of TLS connections each of which is carried by the one below it.
class Tower {
 public:
  Tower(const Context& context, Transport& bottom, std::size_t levels) {
    const bool is_client = context.role() == Role::kClient;
    top_ = is_client ? test::client(context, bottom) : test::server(context, bottom);
    while (below_.size() + 1 < levels) {
      auto carrier = std::make_unique<StreamTransport>(*std::move(top_));
      below_.push_back(carrier.get());
      top_ = Stream::create(context, std::move(carrier),
                            {.server_name = is_client ? test::kServerName : ""})
                 .value();
    }
  }

  Stream& top() { return *top_; }
  Stream& level(std::size_t index) {
    return index < below_.size() ? below_.at(index)->inner() : top();
  }

 private:
  std::optional<Stream> top_;  // Owns those below.
  std::vector<StreamTransport*> below_;
};

class TlsInTlsSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  void open(std::size_t levels) {
    client_.emplace(client_context_, pipe_.a(), levels);
    server_.emplace(server_context_, pipe_.b(), levels);
  }

  // The handshakes of all levels: those below begin when the one on top needs them.
  void handshake(std::size_t levels) {
    open(levels);
    test::together({[&] { client_->top().handshake(kNever).value(); },
                    [&] { server_->top().handshake(kNever).value(); }});
  }

  static std::string pattern(std::size_t count, char first) {
    std::string text(count, first);
    for (int i = 0; char& each : text) each = static_cast<char>(first + i++ % 50);
    return text;
  }

  void send(Stream& stream, const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t count = std::min(1 + world_.below(9'000), text.size() - at);
      stream.write(bytes(std::string_view(text).substr(at, count)), kNever).value();
      at += count;
    }
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{GetParam()};
  sim::Pipe pipe_{world_};
  std::optional<Tower> client_;
  std::optional<Tower> server_;
};

TEST_P(TlsInTlsSim, ThreeLevelsCarryBothDirectionsAtOnce) {
  pipe_.set_faults(kRough);
  constexpr std::size_t kBytes = 40'000;
  world_.run([&] {
    handshake(3);
    const auto receive = [&](Stream& stream, char first) {
      EXPECT_TRUE(test::read_text(stream, kBytes, kNever) == pattern(kBytes, first)) << first;
    };
    test::together({[&] { send(client_->top(), pattern(kBytes, 'a')); },
                    [&] { receive(client_->top(), 'A'); },
                    [&] { send(server_->top(), pattern(kBytes, 'A')); },
                    [&] { receive(server_->top(), 'a'); }});
  });
}

// Writes larger than what the levels below hold, with nobody who reads beside them but the peer.
TEST_P(TlsInTlsSim, LargeWritesWaitForTheLevelsBelow) {
  pipe_.set_faults({.would_block = 3});
  const std::string text = pattern(300'000, 'a');
  world_.run([&] {
    handshake(2);
    test::together(
        {[&] { client_->top().write(bytes(text), kNever).value(); },
         [&] { EXPECT_TRUE(test::read_text(server_->top(), text.size(), kNever) == text); }});
  });
}

TEST_P(TlsInTlsSim, InterruptedReadsLoseNothingAtAnyLevel) {
  pipe_.set_faults(kRough);
  const std::string text = pattern(20'000, 'a');
  int interruptions = 0;
  world_.run([&] {
    handshake(3);
    test::together(
        {[&] {
           for (std::size_t at = 0; at < text.size();) {
             const std::size_t count = std::min(1 + world_.below(3'000), text.size() - at);
             client_->top().write(bytes(std::string_view(text).substr(at, count)), kNever).value();
             at += count;
             (void)this_fiber::sleep_until(this_fiber::after(world_.up_to(milliseconds(30))));
           }
         },
         [&] {
           std::string got(text.size(), '\0');
           for (std::size_t have = 0; have < got.size();) {
             const auto into = std::as_writable_bytes(std::span(got)).subspan(have);
             const auto count =
                 server_->top().read(into, this_fiber::after(world_.up_to(milliseconds(10))));
             if (!count) {
               ASSERT_EQ(count.error().code, Errc::kTimedOut) << count.error().message();
               ++interruptions;
             }
             have += count ? *count : 0;
           }
           EXPECT_TRUE(got == text);
         }});
  });
  EXPECT_GT(interruptions, 0);
}

TEST_P(TlsInTlsSim, BothEndsCloseAtEveryLevel) {
  pipe_.set_faults(kRough);
  world_.run([&] {
    handshake(3);
    test::together({[&] {
                      client_->top().write(bytes("question"), kNever).value();
                      client_->top().shutdown_write(kNever).value();
                      EXPECT_EQ(test::read_text(client_->top(), 6, kNever), "answer");
                      EXPECT_EQ(read_some(client_->top()).value(), 0u);
                      const auto closed = client_->top().close(kNever);
                      EXPECT_TRUE(closed) << closed.error().message();
                    },
                    [&] {
                      EXPECT_EQ(test::read_text(server_->top(), 8, kNever), "question");
                      EXPECT_EQ(read_some(server_->top()).value(), 0u);
                      server_->top().write(bytes("answer"), kNever).value();
                      const auto closed = server_->top().close(kNever);
                      EXPECT_TRUE(closed) << closed.error().message();
                    }});
    // And the transport's end has come behind the last close_notify, both ways.
    std::array<std::byte, 1> none{};
    while (pipe_.a().try_read(none).kind == IoResult::Kind::kWouldBlock) {
    }
    EXPECT_EQ(pipe_.a().try_read(none).kind, IoResult::Kind::kEnd);
    while (pipe_.b().try_read(none).kind == IoResult::Kind::kWouldBlock) {
    }
    EXPECT_EQ(pipe_.b().try_read(none).kind, IoResult::Kind::kEnd);
    for (std::size_t level = 0; level < 3; ++level) {
      EXPECT_NE(SSL_get_shutdown(client_->level(level).native_handle()) & SSL_RECEIVED_SHUTDOWN, 0);
      EXPECT_NE(SSL_get_shutdown(server_->level(level).native_handle()) & SSL_RECEIVED_SHUTDOWN, 0);
    }
  });
}

// shutdown_write() must not wait, and here nothing can be sent: wait() does it afterwards.
TEST_P(TlsInTlsSim, EndThatHasToWaitIsSentByWait) {
  world_.run([&] {
    handshake(2);
    pipe_.set_faults({.capacity_of_a = 0});
    test::together({[&] {
                      StreamTransport& below =
                          dynamic_cast<StreamTransport&>(client_->top().transport());
                      below.shutdown_write();
                      std::array<std::byte, 64> buffer{};
                      while (below.try_read(buffer).kind != IoResult::Kind::kEnd) {
                        ASSERT_EQ(below.wait(Interest::kRead, kNever), Wake::kReady);
                      }
                    },
                    [&] {
                      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
                      pipe_.set_faults({});
                      EXPECT_EQ(read_some(server_->level(0)).value(), 0u)
                          << "the inner close_notify";
                      EXPECT_TRUE(server_->level(0).close(kNever));
                    }});
  });
}

TEST_P(TlsInTlsSim, DeadlineAndCancellationReachTheBottom) {
  world_.run([&] {
    handshake(3);
    const Deadline deadline = world_.after(seconds(5));
    EXPECT_EQ(read_some(server_->top(), deadline).error().code, Errc::kTimedOut);
    EXPECT_EQ(world_.now(), deadline.time());
    scope([&](Scope& fibers) {
      auto task = fibers.spawn(
          "reader", [&] { EXPECT_EQ(read_some(server_->top()).error().code, Errc::kCancelled); });
      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
      task->cancel();
    });
    test::together({[&] { client_->top().write(bytes("after all"), kNever).value(); },
                    [&] { EXPECT_EQ(test::read_text(server_->top(), 9, kNever), "after all"); }});
  });
}

// A mute peer: neither handshake ends, and the deadline holds for both.
TEST_P(TlsInTlsSim, HandshakeOnAMutePeerTimesOut) {
  world_.run([&] {
    open(2);
    const Deadline deadline = world_.after(seconds(5));
    EXPECT_EQ(client_->top().handshake(deadline).error().code, Errc::kTimedOut);
    EXPECT_EQ(world_.now(), deadline.time());
  });
}

TEST_P(TlsInTlsSim, InnerPeerThatIsNotTrustedFailsTheOuterCallWithTheReason) {
  const Context stranger = Context::create(Role::kClient, Trust::kNothing).value();
  world_.run([&] {
    auto inner = test::client(stranger, pipe_.a());
    StreamTransport between(inner);
    auto outer = test::client(client_context_, between);
    server_.emplace(server_context_, pipe_.b(), 2);
    test::together({[&] {
                      const auto shaken = outer.handshake(kNever);
                      ASSERT_FALSE(shaken);
                      EXPECT_EQ(shaken.error().code, Errc::kUntrusted) << shaken.error().message();
                      EXPECT_EQ(shaken.error().verify_code, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
                      EXPECT_NE(shaken.error().openssl_code, 0u);
                    },
                    [&] {
                      // The inner alert arrives, though the failure was noticed while the outer one
                      // waited.
                      const auto shaken = server_->top().handshake(kNever);
                      EXPECT_EQ(shaken.error().code, Errc::kProtocol) << shaken.error().message();
                    }});
  });
}

TEST_P(TlsInTlsSim, CutAndBrokenInnerConnectionsAreToldApart) {
  for (const bool cut : {true, false}) {
    const Errc expected = cut ? Errc::kTruncated : Errc::kProtocol;
    sim::Pipe pipe(world_);
    world_.run([&] {
      Tower client(client_context_, pipe.a(), 2);
      Tower server(server_context_, pipe.b(), 2);
      test::together({[&] { client.top().handshake(kNever).value(); },
                      [&] { server.top().handshake(kNever).value(); }});
      if (cut) {
        pipe.vanish_a();
      } else {
        pipe.set_faults({.flip_at = pipe.sent_by_a() + 20});
        client.top().write(bytes("fragile"), kNever).value();
      }
      const auto got = read_some(server.top());
      ASSERT_FALSE(got);
      EXPECT_EQ(got.error().code, expected) << got.error().message();
      EXPECT_EQ(read_some(server.top()).error().code, expected) << "and it stays so";
    });
  }
}

// The end of the inner connection is a transport's end: not the outer connection's.
TEST_P(TlsInTlsSim, InnerCloseNotifyTruncatesTheOuterStream) {
  world_.run([&] {
    handshake(2);
    test::together({[&] { client_->level(0).shutdown_write(kNever).value(); },
                    [&] { EXPECT_EQ(read_some(server_->top()).error().code, Errc::kTruncated); }});
  });
}

// A peer that asks for new keys wants an answer from a stream that only its transport's calls use.
TEST_P(TlsInTlsSim, KeyUpdatesBelowAreAnswered) {
  pipe_.set_faults(kRough);
  const std::string text = pattern(20'000, 'a');
  world_.run([&] {
    handshake(2);
    const auto work = [&](Tower& tower) {
      for (std::size_t at = 0; at < text.size(); at += 1'000) {
        ASSERT_EQ(SSL_key_update(tower.level(0).native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
        tower.top().write(bytes(std::string_view(text).substr(at, 1'000)), kNever).value();
      }
    };
    const auto receive = [&](Tower& tower) {
      EXPECT_TRUE(test::read_text(tower.top(), text.size(), kNever) == text);
    };
    test::together({[&] { work(*client_); }, [&] { receive(*client_); }, [&] { work(*server_); },
                    [&] { receive(*server_); }});
  });
}

// Only the writer is there to answer: it must send the new keys before the data, and from wait().
TEST_P(TlsInTlsSim, WriterAnswersAKeyUpdateBelow) {
  world_.run([&] {
    handshake(2);
    ASSERT_EQ(SSL_key_update(server_->level(0).native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
    server_->top().write(bytes("x"), kNever).value();
    EXPECT_EQ(test::read_text(client_->top(), 1, kNever), "x");
    const auto owed = [&] {
      return SSL_get_key_update_type(client_->level(0).native_handle()) != SSL_KEY_UPDATE_NONE;
    };
    EXPECT_TRUE(owed());
    client_->top().write(bytes("y"), kNever).value();
    EXPECT_FALSE(owed());
    EXPECT_EQ(test::read_text(server_->top(), 1, kNever), "y");
  });
}

struct OfTheUser : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Thrower is a transport that begins to throw.
class Thrower final : public Transport {
 public:
  explicit Thrower(Transport& below) : below_(below) {}

  bool throws = false;

  IoResult try_read(std::span<std::byte> into) override {
    if (throws) throw OfTheUser("at the bottom");
    return below_.try_read(into);
  }
  IoResult try_write(std::span<const std::byte> from) override {
    if (throws) throw OfTheUser("at the bottom");
    return below_.try_write(from);
  }
  Wake wait(Interest interest, Deadline deadline) override {
    return below_.wait(interest, deadline);
  }

 private:
  Transport& below_;
};

TEST_P(TlsInTlsSim, ExceptionOfTheLowestTransportComesOutOnTop) {
  for (const bool reading : {true, false}) {
    sim::Pipe pipe(world_);
    world_.run([&] {
      Thrower thrower(pipe.a());
      Tower client(client_context_, thrower, 3);
      Tower server(server_context_, pipe.b(), 3);
      test::together({[&] { client.top().handshake(kNever).value(); },
                      [&] { server.top().handshake(kNever).value(); }});
      thrower.throws = true;
      try {
        if (reading) (void)read_some(client.top());
        if (!reading) (void)client.top().write(bytes("x"), kNever);
        ADD_FAILURE() << "nothing was thrown";
      } catch (const OfTheUser& thrown) {
        EXPECT_STREQ(thrown.what(), "at the bottom");
      }
      thrower.throws = false;
      EXPECT_EQ(read_some(client.top()).error().code, Errc::kDisconnected);
      EXPECT_EQ(client.top().write(bytes("x"), kNever).error().code, Errc::kDisconnected);
    });
  }
}

// Callbacks of the inner connection may park, since its records are handled in wait() alone.
TEST_P(TlsInTlsSim, InnerCallbacksMayPark) {
  pipe_.set_faults(kRough);
  static int parked;  // A callback without an argument.
  parked = 0;
  SSL_CTX_set_session_cache_mode(client_context_.native_handle(), SSL_SESS_CACHE_CLIENT);
  SSL_CTX_sess_set_new_cb(client_context_.native_handle(), [](SSL*, SSL_SESSION*) {
    ++parked;
    (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
    return 0;
  });
  for (const Context* context : {&client_context_, &server_context_}) {
    SSL_CTX_set_info_callback(context->native_handle(), [](const SSL*, int, int) {
      (void)this_fiber::sleep_until(this_fiber::after(milliseconds(1)));
    });
  }
  world_.run([&] {
    handshake(3);
    test::together({[&] { server_->top().write(bytes("hello"), kNever).value(); },
                    [&] { EXPECT_EQ(test::read_text(client_->top(), 5, kNever), "hello"); },
                    [&] { client_->top().write(bytes("hello"), kNever).value(); },
                    [&] { EXPECT_EQ(test::read_text(server_->top(), 5, kNever), "hello"); }});
  });
  EXPECT_EQ(parked, 6) << "two tickets at each of three levels";
}

// A fiber is parked in a callback of the inner connection: nobody else enters that, though bytes
// are there to be taken, and the end waits for its turn.
TEST_P(TlsInTlsSim, InnerConnectionInMidCallRefuses) {
  struct Gate {
    bool parks = false;
    bool parked = false;
    WaitQueue queue;
  } gate;
  SSL_CTX_set_app_data(client_context_.native_handle(), &gate);
  SSL_CTX_set_info_callback(client_context_.native_handle(), [](const SSL* ssl, int, int) {
    Gate& here = *static_cast<Gate*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    if (!std::exchange(here.parks, false)) return;
    here.parked = true;
    (void)here.queue.wait(kNever);
  });
  world_.run([&] {
    handshake(1);
    StreamTransport transport(client_->top());
    std::array<std::byte, 10> buffer{};
    ASSERT_EQ(SSL_key_update(server_->top().native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
    server_->top().write(bytes("input"), kNever).value();
    while (client_->top().pending() == 0) {
      ASSERT_EQ(transport.wait(Interest::kRead, kNever), Wake::kReady);
    }
    gate.parks = true;  // In the answer to the new keys.
    scope([&](Scope& fibers) {
      auto writer = fibers.spawn("writer", [&] {
        while (transport.try_write(bytes("output")).kind != IoResult::Kind::kBytes) {
          ASSERT_EQ(transport.wait(Interest::kWrite, kNever), Wake::kReady);
        }
      });
      while (!gate.parked) ASSERT_TRUE(this_fiber::yield());
      EXPECT_EQ(transport.try_read(buffer).kind, IoResult::Kind::kWouldBlock);
      EXPECT_EQ(transport.try_write(bytes("x")).kind, IoResult::Kind::kWouldBlock);
      gate.queue.wake_all();
      ASSERT_TRUE(writer->join());
      EXPECT_EQ(transport.try_read(buffer).bytes, 5u);
    });
    // The same with the end.
    ASSERT_EQ(SSL_key_update(client_->top().native_handle(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    gate.parked = false;
    gate.parks = true;
    scope([&](Scope& fibers) {
      auto writer = fibers.spawn("writer", [&] { (void)transport.wait(Interest::kWrite, kNever); });
      while (!gate.parked) ASSERT_TRUE(this_fiber::yield());
      transport.shutdown_write();
      gate.queue.wake_all();
    });
    test::together({[&] {
                      while (transport.try_read(buffer).kind != IoResult::Kind::kEnd) {
                        ASSERT_EQ(transport.wait(Interest::kRead, kNever), Wake::kReady);
                      }
                    },
                    [&] {
                      EXPECT_EQ(test::read_text(server_->top(), 99, kNever), "output");
                      EXPECT_TRUE(server_->top().close(kNever));
                    }});
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, TlsInTlsSim, test::seeds(1, 65), test::kSeedName);

}  // namespace
}  // namespace heddle
