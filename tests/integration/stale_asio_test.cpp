// The stale-error scenarios against Boost.Asio, as a test suite of somebody who uses it would run
// them; and before that, whether the adapter tells the truth.
#include <sys/socket.h>

#include <array>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "heddle/stale.h"

#include "support/asio_stack.h"
#include "support/raw_tls.h"
#include "support/stale_print.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using stale::Answer;
using stale::Cell;
using stale::Outcome;
using stale::Patience;
using stale::Scenario;
using stale::StackConnection;
using stale::Verdict;

// From 4.0 on SSL_get_error() looks at the connection before it looks at the queue.
const bool kQueueDecides = OPENSSL_version_major() < 4;

// --- The adapter
// ----------------------------------------------------------------------------------

// Both ends of a connection, each in a fiber of Asio's.
class AsioStackTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
    const Identity& identity = test::identity();
    server_ = stack_->connect({.role = Role::kServer,
                               .descriptor = ends[0],
                               .chain_pem = identity.certificate_pem,
                               .key_pem = identity.key_pem});
    client_end_ = ends[1];
  }

  ~AsioStackTest() override {
    if (!client_) close(client_end_);
  }

  void make_client(std::string_view trusted_pem, std::string_view server_name) {
    client_ = stack_->connect({.role = Role::kClient,
                               .descriptor = client_end_,
                               .trusted_pem = trusted_pem,
                               .server_name = server_name});
  }

  // Returns what the client's handshake came to.
  Answer handshake() {
    if (!client_) make_client(test::identity().certificate_pem, test::kServerName);
    bool server_is_done = false;
    stack_->spawn("server", [&] {
      (void)server_->handshake();
      server_is_done = true;
    });
    const Answer answer = client_->handshake().answer;
    while (!server_is_done) stack_->yield();
    return answer;
  }

  static std::string read(StackConnection& connection, Patience patience) {
    std::array<std::byte, 64> into{};
    const Outcome outcome = connection.read(into, patience);
    if (outcome.answer != Answer::kDone) return outcome.words;
    return {reinterpret_cast<const char*>(into.data()), outcome.bytes};
  }

  static Answer try_read(StackConnection& connection) {
    std::array<std::byte, 1> into{};
    return connection.read(into, Patience::kNone).answer;
  }

  std::unique_ptr<stale::Stack> stack_ = test::make_asio_stack();
  std::unique_ptr<StackConnection> server_;
  std::unique_ptr<StackConnection> client_;
  int client_end_ = -1;
};

TEST_F(AsioStackTest, ReadWithoutPatienceWaitsForNobodyAndLosesNothing) {
  stack_->run([&] {
    ASSERT_EQ(handshake(), Answer::kDone);
    for (const std::string text : {"first", "second"}) {
      EXPECT_EQ(try_read(*client_), Answer::kWaiting);
      EXPECT_EQ(server_->write(test::bytes(text)).answer, Answer::kDone);
      EXPECT_EQ(read(*client_, Patience::kNone), text);
    }
  });
}

TEST_F(AsioStackTest, PatientReadLetsOthersRun) {
  stack_->run([&] {
    ASSERT_EQ(handshake(), Answer::kDone);
    stack_->spawn("writer", [&] { (void)server_->write(test::bytes("at last")); });
    EXPECT_EQ(read(*client_, Patience::kForever), "at last");
  });
}

TEST_F(AsioStackTest, ShutdownWaitsForThePeersAndEndsWithIt) {
  stack_->run([&] {
    ASSERT_EQ(handshake(), Answer::kDone);
    EXPECT_EQ(client_->shutdown().answer, Answer::kWaiting);
    EXPECT_EQ(client_->shutdown().answer, Answer::kWaiting);
    EXPECT_EQ(try_read(*server_), Answer::kEnd);
    EXPECT_EQ(server_->shutdown().answer, Answer::kDone);
    EXPECT_EQ(client_->shutdown().answer, Answer::kDone);
  });
}

TEST_F(AsioStackTest, CutConnectionIsNoEnd) {
  stack_->run([&] {
    ASSERT_EQ(handshake(), Answer::kDone);
    server_.reset();
    EXPECT_EQ(try_read(*client_), Answer::kTransportFailed);
  });
}

TEST_F(AsioStackTest, ServerThatNobodyVouchesForIsUntrusted) {
  stack_->run([&] {
    make_client("", test::kServerName);
    EXPECT_EQ(handshake(), Answer::kUntrusted);
  });
}

TEST_F(AsioStackTest, ServerOfAnotherNameIsUntrusted) {
  stack_->run([&] {
    make_client(test::identity().certificate_pem, "other.test");
    EXPECT_EQ(handshake(), Answer::kUntrusted);
  });
}

TEST_F(AsioStackTest, ClientNamesTheServerThatItWants) {
  stack_->run([&] {
    ASSERT_EQ(handshake(), Answer::kDone);
    EXPECT_STREQ(SSL_get_servername(server_->native_handle(), TLSEXT_NAMETYPE_host_name),
                 test::kServerName);
  });
}

using Hook = std::function<void()>;

void call_hook(int /*sent*/, int /*version*/, int /*type*/, const void* /*from*/,
               std::size_t /*size*/, SSL* /*ssl*/, void* hook) {
  (*static_cast<Hook*>(hook))();
}

// A client's first message is written by the call that begins the handshake, the others come and go
// in calls that are made on the stack of io_context's thread.
TEST_F(AsioStackTest, CallbacksMayYieldOften) {
  bool over = false;
  int turns = 0;
  int calls = 0;
  Hook hook = [&] {
    ++calls;
    const int enough = turns + 3;
    while (turns < enough) stack_->yield();
  };
  stack_->run([&] {
    stack_->spawn("other", [&] {
      while (!over) {
        stack_->yield();
        ++turns;
      }
    });
    make_client(test::identity().certificate_pem, test::kServerName);
    SSL_set_msg_callback(client_->native_handle(), call_hook);
    SSL_set_msg_callback_arg(client_->native_handle(), &hook);
    EXPECT_EQ(handshake(), Answer::kDone);
    SSL_set_msg_callback(client_->native_handle(), nullptr);
    over = true;
  });
  EXPECT_GT(calls, 5);
}

long leave_before_read(BIO* bio, int operation, const char* /*bytes*/, std::size_t /*size*/,
                       int /*number*/, long /*other*/, int result, std::size_t* /*done*/) {
  const auto* const leak = reinterpret_cast<const test::Leak*>(BIO_get_callback_arg(bio));
  if (operation == BIO_CB_READ) test::leave_entry(*leak);
  return result;
}

TEST_F(AsioStackTest, FailureIsClassifiedByTheEntryThatSslGetErrorBelieves) {
  stack_->run([&] {
    ASSERT_EQ(handshake(), Answer::kDone);
    BIO* const bio = SSL_get_rbio(client_->native_handle());
    for (test::Leak leak : {test::Leak::kSystem, test::Leak::kOther}) {
      BIO_set_callback_arg(bio, reinterpret_cast<char*>(&leak));
      BIO_set_callback_ex(bio, leave_before_read);
      const Answer answer = try_read(*client_);
      BIO_set_callback_ex(bio, nullptr);
      const bool system = leak == test::Leak::kSystem;
      const Answer believed = system ? Answer::kTransportFailed : Answer::kTlsFailed;
      EXPECT_EQ(answer, kQueueDecides ? believed : Answer::kWaiting);
    }
  });
}

TEST_F(AsioStackTest, ExceptionOfAFiberComesOutOfRunWhenAllAreDone) {
  bool other_is_done = false;
  const auto run = [&] {
    stack_->run([&] {
      stack_->spawn("other", [&] {
        for (int turn = 0; turn < 10; ++turn) stack_->yield();
        other_is_done = true;
      });
      throw std::runtime_error("out of the fiber");
    });
  };
  EXPECT_THROW(run(), std::runtime_error);
  EXPECT_TRUE(other_is_done);
}

// --- The scenarios
// --------------------------------------------------------------------------------

class StaleErrorsInAsio : public testing::TestWithParam<Scenario> {};

TEST_P(StaleErrorsInAsio, DoTheHarmThatClearingCannotCureAndNoOther) {
  const auto asio = test::make_asio_stack();
  const Cell cell = stale::run(*asio, GetParam());
  EXPECT_TRUE(cell.as_expected()) << cell.explain();
  // It has no peek; all else is played.
  EXPECT_EQ(cell.verdict == Verdict::kSkipped, GetParam().victim == "peek") << cell.explain();
}

INSTANTIATE_TEST_SUITE_P(All, StaleErrorsInAsio, testing::ValuesIn(stale::scenarios()),
                         stale::test_name<testing::TestParamInfo<Scenario>>);

Verdict verdict_of(const std::string& scenario) {
  const auto asio = test::make_asio_stack();
  const auto found = stale::scenarios(scenario);
  EXPECT_EQ(found.size(), 1U) << scenario;
  return found.empty() ? Verdict::kBroken : stale::run(*asio, found.front()).verdict;
}

// The same without the harness's table of what to expect.
TEST(AsioClearsBeforeEachCall, SoWhatLiesThereBeforeDoesNoHarm) {
  for (const char* const victim : {"read", "write", "shutdown", "woken-reader", "true-failure"}) {
    const std::string scenario = std::string("pem-junk/") + victim + "@between-calls";
    EXPECT_EQ(verdict_of(scenario), Verdict::kHealthy) << scenario;
  }
}

TEST(AsioClearsBeforeEachCall, SoTheApplicationsOwnErrorsAreGone) {
  EXPECT_EQ(verdict_of("pem-junk/own-errors@same-fiber"), Verdict::kLost);
}

TEST(AsioClearsBeforeEachCall, SoWhatComesDuringTheCallDoesHarm) {
  const Verdict dead = kQueueDecides ? Verdict::kSpurious : Verdict::kHealthy;
  EXPECT_EQ(verdict_of("pem-junk/read@bio-read"), dead);       // On the coroutine's stack.
  EXPECT_EQ(verdict_of("pem-junk/handshake@bio-read"), dead);  // On the thread's.
  EXPECT_EQ(verdict_of("pem-junk/handshake@sni-callback"), dead);
  EXPECT_EQ(verdict_of("another-handshake/untrusted@alert-write"), Verdict::kLost);
}

}  // namespace
}  // namespace heddle
