// The stale-error bug, case by case: which policy survives what. In each test a
// healthy connection is used while an entry that it did not cause lies, or comes to
// lie, in the thread's OpenSSL error queue.
#include <array>
#include <optional>
#include <string>
#include <tuple>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/fiber.h"
#include "heddle/isolation.h"
#include "heddle/tls/stream.h"

#include "support/raw_tls.h"
#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::Leak;
using test::WhenBlocked;
using tls::Step;

// From 4.0 on SSL_get_error() looks at the connection before it looks at the queue.
constexpr bool kQueueDecides = OPENSSL_VERSION_NUMBER < 0x40000000L;

std::string said(const Step& step) {
  return step.error != nullptr ? step.error->message() : "it has not failed";
}

class ErrorIsolationSim : public testing::TestWithParam<std::tuple<Isolation, std::uint64_t>> {
 protected:
  // A connection over `pipe_`: our client, and a server driven by hand.
  void connect(WhenBlocked when_blocked) {
    server_ = test::make_raw_engine(server_context_, pipe_.b(), when_blocked);
    client_ = test::client(client_context_, pipe_.a());
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("server handshake", [&] {
        EXPECT_EQ(test::drive(*server_, pipe_.b(), Deadline::never(), SSL_do_handshake).kind,
                  Step::Kind::kDone);
      }));
      client_->handshake(Deadline::never()).value();
    });
    // The first read after a TLS 1.3 handshake takes the tickets and clears the
    // queue: let that be over.
    ASSERT_EQ(write_from_server("ticket").kind, Step::Kind::kDone);
    ASSERT_EQ(test::read_text(*client_, 6, Deadline::never()), "ticket");
  }

  Step write_from_server(const std::string& text) {
    return test::drive(*server_, pipe_.b(), Deadline::never(), [&](SSL* ssl) {
      return SSL_write(ssl, text.data(), static_cast<int>(text.size()));
    });
  }

  Step call_server(int (*op)(SSL*)) { return server_->call("test", op); }

  Isolation isolation() const { return std::get<0>(GetParam()); }
  bool isolated() const { return isolation() == Isolation::kIsolated; }
  bool shared() const { return isolation() == Isolation::kShared; }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{std::get<1>(GetParam()), isolation()};
  sim::Pipe pipe_{world_};
  std::unique_ptr<test::RawEngine> server_;
  std::optional<Stream> client_;
};

int read_one(SSL* ssl) {
  char byte = 0;
  return SSL_read(ssl, &byte, 1);
}

int peek_one(SSL* ssl) {
  char byte = 0;
  return SSL_peek(ssl, &byte, 1);
}

// T1: an entry lies there before the call. Only doing nothing falls for it.
TEST_P(ErrorIsolationSim, T1StaleEntryBeforeReadAndPeek) {
  world_.run([&] {
    connect(WhenBlocked::kRefuse);
    for (const Leak leak : {Leak::kOther, Leak::kSystem}) {
      for (auto* const op : {read_one, peek_one}) {
        test::leave_entry(leak);
        const Step step = call_server(op);
        const bool healthy = step.kind == Step::Kind::kWantRead;
        EXPECT_EQ(healthy, !(shared() && kQueueDecides)) << said(step);
        ERR_clear_error();
      }
    }
  });
}

TEST_P(ErrorIsolationSim, T1StaleEntryBeforeWriteToAFullSocket) {
  world_.run([&] {
    connect(WhenBlocked::kRefuse);
    static std::array<char, 16384> block{};
    const auto write = [](SSL* ssl) {
      return SSL_write(ssl, block.data(), static_cast<int>(block.size()));
    };
    ASSERT_EQ(server_->call("fill", write).kind, Step::Kind::kWantWrite);
    test::leave_entry(Leak::kOther);
    const Step step = server_->call("test", write);
    EXPECT_EQ(step.kind == Step::Kind::kWantWrite, !(shared() && kQueueDecides)) << said(step);
    ERR_clear_error();
  });
}

TEST_P(ErrorIsolationSim, T1StaleEntryBeforeAShutdownThatWaits) {
  world_.run([&] {
    connect(WhenBlocked::kRefuse);
    ASSERT_EQ(SSL_shutdown(server_->ssl()), 0) << "close_notify is sent, the peer's not here";
    test::leave_entry(Leak::kOther);
    const Step step = call_server(SSL_shutdown);
    EXPECT_EQ(step.kind == Step::Kind::kWantRead, !(shared() && kQueueDecides)) << said(step);
    ERR_clear_error();
  });
}

// A handshake clears the whole queue by itself: poison before one proves nothing.
TEST_P(ErrorIsolationSim, T1StaleEntryBeforeAHandshakeHarmsNoPolicy) {
  world_.run([&] {
    server_ = test::make_raw_engine(server_context_, pipe_.b(), WhenBlocked::kRefuse);
    test::leave_entry(Leak::kOther);
    EXPECT_EQ(call_server(SSL_do_handshake).kind, Step::Kind::kWantRead);
    ERR_clear_error();
  });
}

// T2: a true failure of one class while an entry of the other class lies there.
TEST_P(ErrorIsolationSim, T2BadRecordIsReportedAsItself) {
  world_.run([&] {
    connect(WhenBlocked::kRefuse);
    pipe_.set_faults({.flip_at = pipe_.sent_by_a() + 20});
    client_->write(test::bytes("damaged on its way"), Deadline::never()).value();
    test::leave_entry(Leak::kSystem);
    const Step step = call_server(read_one);
    ASSERT_EQ(step.kind, Step::Kind::kFailed);
    EXPECT_EQ(step.error->code == Errc::kProtocol, !shared()) << said(step);
    ERR_clear_error();
  });
}

TEST_P(ErrorIsolationSim, T2VanishedPeerIsReportedAsItself) {
  world_.run([&] {
    connect(WhenBlocked::kRefuse);
    pipe_.vanish_a();
    test::leave_entry(Leak::kOther);
    const Step step = server_->call("test", [](SSL* ssl) { return SSL_write(ssl, "answer", 6); });
    ASSERT_EQ(step.kind, Step::Kind::kFailed);
    EXPECT_EQ(step.error->code == Errc::kDisconnected, !shared()) << said(step);
    ERR_clear_error();
  });
}

// T3: the queue is clean when the call begins; the fiber parks inside OpenSSL, and
// another fiber leaves an entry. Clearing before the call cannot help.
TEST_P(ErrorIsolationSim, T3EntryThatComesWhileAReaderIsParkedInsideOpenSsl) {
  world_.run([&] {
    connect(WhenBlocked::kPark);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("reader", [&] {
        const Step step = call_server(read_one);
        EXPECT_EQ(step.kind == Step::Kind::kWantRead, isolated() || !kQueueDecides) << said(step);
      }));
      ASSERT_TRUE(fibers.spawn("leaker", [&] {
        (void)this_fiber::sleep_until(this_fiber::after(milliseconds(500)));
        test::leave_entry(Leak::kOther);
        (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
        // Its own entry is its own business: it finds it when it looks at last.
        EXPECT_TRUE(!isolated() || ERR_peek_error() != 0);
      }));
    });
    ERR_clear_error();
  });
}

// T4: verification fails, and while the fiber is parked in the write of its alert,
// another one starts a handshake, which clears the queue: the reason is lost.
TEST_P(ErrorIsolationSim, T4ReasonOfAFailureSurvivesAHandshakeOfAnotherFiber) {
  const Context suspicious = Context::create(Role::kClient, Trust::kNothing).value();
  world_.run([&] {
    server_ = test::make_raw_engine(server_context_, pipe_.b(), WhenBlocked::kRefuse);
    const auto victim = test::make_raw_engine(suspicious, pipe_.a(), WhenBlocked::kPark);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("victim", [&] {
        const Step step = victim->call("test", SSL_do_handshake);
        ASSERT_EQ(step.kind, Step::Kind::kFailed);
        EXPECT_EQ(step.error->code == Errc::kUntrusted, isolated()) << said(step);
      }));
      ASSERT_TRUE(fibers.spawn("server", [&] {
        while (pipe_.sent_by_a() == 0) (void)this_fiber::yield();
        pipe_.set_faults({.capacity_of_a = 0});  // The alert will have to wait.
        while (call_server(SSL_do_handshake).kind != Step::Kind::kFailed) {
          if (pipe_.b().wait(Interest::kRead, this_fiber::after(milliseconds(500))) !=
              Wake::kReady) {
            break;
          }
        }
        sim::Pipe other(world_);
        const auto beginner =
            test::make_raw_engine(server_context_, other.b(), WhenBlocked::kRefuse);
        EXPECT_EQ(beginner->call("test", SSL_do_handshake).kind, Step::Kind::kWantRead);
        pipe_.set_faults({});
      }));
    });
    ERR_clear_error();
  });
}

// Only `isolated` promises this.
class OwnEntriesSim : public ErrorIsolationSim {};

// What an application's own failed OpenSSL call has left is there again, marks
// included, after any call of ours.
TEST_P(OwnEntriesSim, CallersOwnEntriesSurviveOurCalls) {
  world_.run([&] {
    connect(WhenBlocked::kRefuse);
    test::leave_entry(Leak::kSystem);
    const unsigned long oldest = ERR_peek_error();
    ASSERT_EQ(ERR_set_mark(), 1);
    test::leave_entry(Leak::kOther);
    const unsigned long newest = ERR_peek_last_error();

    client_->write(test::bytes("from the application"), Deadline::never()).value();
    std::array<std::byte, 1> byte{};
    EXPECT_EQ(client_->read(byte, this_fiber::after(seconds(1))).error().code, Errc::kTimedOut);
    EXPECT_TRUE(client_->shutdown_write(Deadline::never()));
    EXPECT_FALSE(Context::create(Role::kServer).value().use_cert_chain("junk", "junk"));
    EXPECT_EQ(client_->peer_certificates().size(), 1u);

    EXPECT_EQ(ERR_peek_last_error(), newest);
    EXPECT_EQ(ERR_pop_to_mark(), 1);
    EXPECT_EQ(ERR_peek_last_error() != newest, true);
    EXPECT_EQ(ERR_get_error(), oldest);
    ERR_clear_error();
  });
}

// Every policy but `shared`, for which T1 shows what happens.
class JunkPeerSim : public ErrorIsolationSim {};

// A peer that sends junk fills the queue while healthy connections are in mid-read.
TEST_P(JunkPeerSim, JunkPeerHarmsOnlyItsOwnConnection) {
  sim::Pipe hostile(world_);
  world_.run([&] {
    connect(WhenBlocked::kRefuse);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("healthy reader", [&] {
        EXPECT_EQ(test::read_text(*client_, 4, Deadline::never()), "late");
      }));
      ASSERT_TRUE(fibers.spawn("junk sender", [&] {
        (void)hostile.a().try_write(test::bytes("GET / HTTP/1.1\r\n\r\n"));
      }));
      ASSERT_TRUE(fibers.spawn("junk receiver", [&] {
        auto victim = test::server(server_context_, hostile.b());
        const auto shaken = victim.handshake(Deadline::never());
        ASSERT_FALSE(shaken);
        EXPECT_EQ(shaken.error().code, Errc::kProtocol) << shaken.error().message();
      }));
      (void)this_fiber::sleep_until(this_fiber::after(seconds(1)));
      EXPECT_EQ(write_from_server("late").kind, Step::Kind::kDone);
    });
  });
}

std::string case_name(const testing::TestParamInfo<ErrorIsolationSim::ParamType>& test) {
  return std::string(name_of(std::get<0>(test.param))) + "_seed_" +
         std::to_string(std::get<1>(test.param));
}

auto seeds() {
  return test::seeds(1, 17);
}

INSTANTIATE_TEST_SUITE_P(Policies, ErrorIsolationSim,
                         testing::Combine(testing::Values(Isolation::kShared, Isolation::kClear,
                                                          Isolation::kIsolated),
                                          seeds()),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Policies, OwnEntriesSim,
                         testing::Combine(testing::Values(Isolation::kIsolated), seeds()),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Policies, JunkPeerSim,
                         testing::Combine(testing::Values(Isolation::kClear, Isolation::kIsolated),
                                          seeds()),
                         case_name);

}  // namespace
}  // namespace heddle
