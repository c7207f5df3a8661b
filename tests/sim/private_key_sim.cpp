// Keys that are elsewhere: signatures that fail, throw, are wrong, are many at once, or come over
// another TLS connection.
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>

#include "heddle/error_queue.h"
#include "heddle/fiber.h"
#include "heddle/sync.h"
#include "heddle/tls/private_key.h"
#include "heddle/tls/stream.h"

#include "support/forwarding_transport.h"
#include "support/numbered_entries.h"
#include "support/raw_tls.h"
#include "support/remote_signer.h"
#include "support/seeds.h"
#include "support/signers.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using test::bytes;
using test::CallSigner;
using test::key_signer;
using test::Meeting;
using test::server_of;
using test::Signature;
using test::SlowSigner;

constexpr auto k12 = TlsVersion::kTls12;
constexpr auto k13 = TlsVersion::kTls13;

constexpr Deadline kNever = Deadline::never();

// The alert that ended a connection, as the end that received it tells.
int alert_reason(const Result<void>& result) {
  return result ? 0 : ERR_GET_REASON(result.error().openssl_code);
}

// --- What goes wrong ------------------------------------------------------------------------

class PrivateKeySim : public testing::TestWithParam<std::uint64_t> {
 protected:
  // One handshake with a server whose signatures `sign` makes.
  void meet(KeyType type, const CallSigner::Function& sign,
            const std::function<void(Meeting&)>& check, TlsVersion version = k13) {
    Context server = server_of(type, std::make_shared<CallSigner>(sign));
    server.set_versions(version, version).value();
    const Context client = test::client_context(type);
    world_.run([&] {
      Meeting meeting(world_, server, client);
      check(meeting);
    });
  }

  sim::World world_{GetParam()};
};

TEST_P(PrivateKeySim, AnErrorOfTheSignerComesOutOfTheHandshakeAsItIs) {
  for (const TlsVersion version : {k12, k13}) {
    const auto refuse = [](auto...) -> Signature {
      test::leave_entry(test::Leak::kOther);
      this_fiber::sleep_until(this_fiber::after(milliseconds(1))).value();
      return Error{.code = Errc::kUnreachable, .sys_errno = EHOSTDOWN, .operation = "ask the HSM"}
          .with("hsm.test");
    };
    meet(
        KeyType::kRsa2048, refuse,
        [](Meeting& meeting) {
          meeting.shake_hands();
          ASSERT_FALSE(meeting.server_result);
          const Error& error = meeting.server_result.error();
          EXPECT_EQ(error.code, Errc::kUnreachable);
          EXPECT_EQ(error.sys_errno, EHOSTDOWN);
          EXPECT_EQ(error.openssl_code, 0U);
          EXPECT_STREQ(error.operation, "ask the HSM");
          EXPECT_EQ(error.context(), "hsm.test");
          EXPECT_EQ(alert_reason(meeting.client_result), SSL_R_TLSV1_ALERT_INTERNAL_ERROR);
          // Final.
          EXPECT_EQ(meeting.server().write(bytes("x"), kNever).error().sys_errno, EHOSTDOWN);
        },
        version);
  }
}

TEST_P(PrivateKeySim, AnExceptionOfTheSignerComesOutOfTheHandshake) {
  const auto fail = [](auto...) -> Signature {
    this_fiber::sleep_until(this_fiber::after(milliseconds(1))).value();
    throw std::domain_error("no such key");
  };
  meet(KeyType::kEcdsaP256, fail, [](Meeting& meeting) {
    scope([&](Scope& fibers) {
      auto server =
          fibers.spawn("server", [&] { (void)meeting.server().handshake(kNever).has_value(); });
      meeting.client_result = meeting.client().handshake(kNever);
      EXPECT_THROW((void)server->join().has_value(), std::domain_error);
    });
    EXPECT_EQ(alert_reason(meeting.client_result), SSL_R_TLSV1_ALERT_INTERNAL_ERROR);
    EXPECT_EQ(meeting.server().handshake(kNever).error().code, Errc::kDisconnected);
  });
}

TEST_P(PrivateKeySim, TheCallersErrorQueueIsAsItWas) {
  const auto signer = std::make_shared<SlowSigner>(KeyType::kEcdsaP256);
  const Context server = server_of(KeyType::kEcdsaP256, signer);
  const Context client = test::client_context(KeyType::kEcdsaP256);
  world_.run([&] {
    Meeting meeting(world_, server, client);
    scope([&](Scope& fibers) {
      ASSERT_TRUE(fibers.spawn("server", [&] {
        test::raise_numbers(1, 4);
        meeting.server().handshake(kNever).value();
        EXPECT_EQ(test::take_all_numbers(), test::numbers(1, 4));
      }));
      meeting.client().handshake(kNever).value();
    });
  });
}

// The signature function is not told for which connection it is, and here another one has been
// inside OpenSSL on the same fiber before.
TEST_P(PrivateKeySim, AnErrorFindsItsConnectionAfterAnotherWithinTheSameCall) {
  const auto refuse = std::make_shared<CallSigner>(
      [](auto...) -> Signature { return Error{.code = Errc::kUnreachable, .operation = "HSM"}; });
  Context server = server_of(KeyType::kEcdsaP256, refuse);
  const Context client = test::client_context(KeyType::kEcdsaP256);
  const Context other_server = test::server_context();
  const Context other_client = test::client_context();
  server.on_client_hello([&](const ClientHello&) -> Result<HelloAnswer> {
    Meeting other(world_, other_server, other_client);
    other.shake_hands();
    other.expect_success();
    return HelloAnswer::go_on();
  });
  world_.run([&] {
    Meeting meeting(world_, server, client);
    meeting.shake_hands();
    ASSERT_FALSE(meeting.server_result);
    EXPECT_EQ(meeting.server_result.error().code, Errc::kUnreachable);
  });
}

TEST_P(PrivateKeySim, AConnectionMayChooseACertificateWithASigner) {
  const auto signer = std::make_shared<SlowSigner>(KeyType::kEcdsaP256);
  const Credentials chosen =
      Credentials::with_signer(test::identity(KeyType::kEcdsaP256).certificate_pem, signer).value();
  Context server = test::server_context(KeyType::kRsa2048);
  server.on_certificate(
      [&](const ConnectionView&) { return Result<std::optional<Credentials>>(chosen); });
  const Context client = test::client_context(KeyType::kEcdsaP256);
  world_.run([&] {
    Meeting meeting(world_, server, client);
    meeting.shake_hands();
    meeting.expect_success();
  });
  EXPECT_EQ(signer->schemes.size(), 1U);
}

// A wrong RSA signature that leaves the process gives the key away.
TEST_P(PrivateKeySim, AWrongRsaSignatureIsNotSent) {
  const auto key = key_signer(KeyType::kRsa2048);
  const auto spoil = [&](SignatureScheme scheme, std::span<const std::byte> message, Deadline) {
    auto signature = key->sign(scheme, message, kNever);
    (*signature)[100] ^= std::byte{1};
    return signature;
  };
  for (const TlsVersion version : {k12, k13}) {
    meet(
        KeyType::kRsa2048, spoil,
        [](Meeting& meeting) {
          meeting.shake_hands();
          ASSERT_FALSE(meeting.server_result);
          EXPECT_EQ(meeting.server_result.error().code, Errc::kInvalid);
          EXPECT_EQ(alert_reason(meeting.client_result), SSL_R_TLSV1_ALERT_INTERNAL_ERROR);
        },
        version);
  }
}

TEST_P(PrivateKeySim, AnotherKeysSignatureIsThePeersToRefuse) {
  const auto other = make_self_signed({"other.test"}, KeyType::kEcdsaP256).value();
  const auto key = make_key_signer(other.key_pem).value();
  const auto sign = [&](auto... arguments) { return key->sign(arguments...); };
  meet(KeyType::kEcdsaP256, sign, [](Meeting& meeting) {
    meeting.shake_hands();
    ASSERT_FALSE(meeting.client_result);
    EXPECT_EQ(meeting.client_result.error().code, Errc::kProtocol);
    EXPECT_EQ(alert_reason(meeting.server_result), SSL_R_TLSV1_ALERT_DECRYPT_ERROR);
  });
}

TEST_P(PrivateKeySim, ASignatureOfNoPossibleSizeIsRefused) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{100'000}}) {
    const auto sign = [size](auto...) -> Signature { return std::vector<std::byte>(size); };
    meet(KeyType::kEcdsaP256, sign, [](Meeting& meeting) {
      meeting.shake_hands();
      ASSERT_FALSE(meeting.server_result);
      EXPECT_EQ(meeting.server_result.error().code, Errc::kInvalid);
    });
  }
}

TEST_P(PrivateKeySim, TheHandshakesDeadlineReachesTheSigner) {
  const auto wait = [](SignatureScheme, auto, Deadline deadline) -> Signature {
    Semaphore never(0);
    return never.acquire(deadline).error();
  };
  meet(KeyType::kEcdsaP256, wait, [](Meeting& meeting) {
    const Deadline deadline = this_fiber::after(milliseconds(500));
    meeting.shake_hands(deadline);
    EXPECT_EQ(meeting.server_result.error().code, Errc::kTimedOut);
    EXPECT_EQ(this_fiber::now(), deadline.time());
    EXPECT_EQ(alert_reason(meeting.client_result), SSL_R_TLSV1_ALERT_INTERNAL_ERROR);
  });
}

TEST_P(PrivateKeySim, CancellationReachesTheSigner) {
  Semaphore inside(0);
  const auto wait = [&](auto...) -> Signature {
    inside.release();
    Semaphore never(0);
    return never.acquire(kNever).error();
  };
  meet(KeyType::kEcdsaP256, wait, [&](Meeting& meeting) {
    scope([&](Scope& fibers) {
      auto server = fibers.spawn("server", [&] { return meeting.server().handshake(kNever); });
      ASSERT_TRUE(fibers.spawn("client", [&] { (void)meeting.client().handshake(kNever); }));
      inside.acquire().value();
      server->cancel();
      EXPECT_EQ(server->join().error().code, Errc::kCancelled);
    });
  });
}

TEST_P(PrivateKeySim, TheSignerMustNotUseTheConnectionThatWaitsForIt) {
  const auto key = key_signer(KeyType::kEcdsaP256);
  Meeting* present = nullptr;
  Result<std::size_t> used = std::size_t{0};
  const auto sign = [&](SignatureScheme scheme, auto message, Deadline deadline) {
    std::array<std::byte, 1> into{};
    used = present->server().read(into, kNever);
    return key->sign(scheme, message, deadline);
  };
  meet(KeyType::kEcdsaP256, sign, [&](Meeting& meeting) {
    present = &meeting;
    meeting.shake_hands();
    meeting.expect_success();
  });
  ASSERT_FALSE(used);
  EXPECT_EQ(used.error().code, Errc::kInvalid);
}

// TLS_RSA_... decrypts with the key, which nobody here has.
TEST_P(PrivateKeySim, ASuiteThatDecryptsFailsWithoutHarm) {
  const auto signer = std::make_shared<SlowSigner>(KeyType::kRsa2048);
  const Context server = server_of(KeyType::kRsa2048, signer);
  Context client = test::client_context(KeyType::kRsa2048);
  client.set_versions(k12, k12).value();
  client.set_ciphers("AES128-SHA256:AES128-GCM-SHA256").value();
  const Context usual = test::client_context(KeyType::kRsa2048);
  world_.run([&] {
    Meeting meeting(world_, server, client);
    meeting.shake_hands();
    EXPECT_FALSE(meeting.server_result);
    EXPECT_FALSE(meeting.client_result);
    Meeting next(world_, server, usual);
    next.shake_hands();
    next.expect_success();
  });
  EXPECT_EQ(signer->schemes.size(), 1U);
}

// --- Many at once ---------------------------------------------------------------------------

TEST_P(PrivateKeySim, ManyMayBeInsideTheSignerAtOnce) {
  constexpr int kConnections = 30;
  const auto signer = std::make_shared<SlowSigner>(KeyType::kEcdsaP256);
  const Context server = server_of(KeyType::kEcdsaP256, signer);
  const Context client = test::client_context(KeyType::kEcdsaP256);
  world_.run([&] {
    scope([&](Scope& fibers) {
      for (int i = 0; i < kConnections; ++i) {
        ASSERT_TRUE(fibers.spawn("meeting", [&] {
          Meeting meeting(world_, server, client);
          meeting.shake_hands();
          meeting.expect_success();
        }));
      }
    });
  });
  EXPECT_EQ(signer->most_inside, kConnections);
}

// A service beside the servers that ask it, and leakers of entries. Each signature is a whole
// handshake, with certificates on both sides, inside another.
TEST_P(PrivateKeySim, SignaturesComeOverAnotherTlsConnection) {
  constexpr int kConnections = 20;
  const Context service = test::signing_service_context();
  const Context asking = test::signing_client_context();
  const auto key = key_signer(KeyType::kRsa2048);
  int served = 0;
  bool done = false;
  world_.run([&] {
    std::vector<std::unique_ptr<sim::Pipe>> pipes;  // Outlive the fibers at their ends.
    scope([&](Scope& fibers) {
      // A new connection to the service, whose end is in a fiber of its own.
      const auto connect = [&](Deadline) -> Result<std::unique_ptr<Transport>> {
        sim::Pipe& pipe = *pipes.emplace_back(std::make_unique<sim::Pipe>(
            world_, sim::Faults{.short_io = 30, .would_block = 10, .spurious_wake = 10}));
        auto serving = fibers.spawn("signing service", [&, end = &pipe.b()] {
          auto stream = test::server(service, *end);
          test::serve_signature(stream, *key, kNever).value();
          ++served;
        });
        if (!serving) return serving.error();
        return std::unique_ptr<Transport>(std::make_unique<test::ForwardingTransport>(pipe.a()));
      };
      const Context server =
          server_of(KeyType::kRsa2048, std::make_shared<test::RemoteSigner>(asking, connect));
      const Context client = test::client_context(KeyType::kRsa2048);
      ASSERT_TRUE(fibers.spawn("leaker", [&] {
        while (!done) {
          test::leave_entry(test::Leak::kSystem);
          this_fiber::sleep_until(this_fiber::after(milliseconds(1))).value();
        }
      }));
      scope([&](Scope& meetings) {
        for (int i = 0; i < kConnections; ++i) {
          ASSERT_TRUE(meetings.spawn("meeting", [&] {
            Meeting meeting(world_, server, client);
            meeting.shake_hands();
            meeting.expect_success();
          }));
        }
      });
      done = true;
    });
  });
  EXPECT_EQ(served, kConnections);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PrivateKeySim, test::seeds(0, 8), test::kSeedName);

}  // namespace
}  // namespace heddle
