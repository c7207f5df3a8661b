// Kernel TLS: which connections have it, why the others do not, and that it harms none.
//
// Where the kernel has no TLS, what needs it is skipped with the reason, and the answer "no" is
// tested. tests/ktls_vm.sh runs this program where it has, and HEDDLE_KTLS_EXPECTED turns those
// skips into failures.
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>

#include "support/readme_ktls.h"
#include "support/sim.h"
#include "support/tls_over_tcp.h"

namespace heddle {
namespace {

using State = KernelTlsState;
using test::bytes;
using test::Connection;
using test::pattern;
using test::ScratchFile;

// The kernel's own counters; empty without the module.
std::map<std::string, long> tls_stat() {
  std::map<std::string, long> all;
  std::ifstream file("/proc/net/tls_stat");
  std::string name;
  for (long value = 0; file >> name >> value;) all[name] = value;
  return all;
}

bool openssl_before(unsigned major, unsigned minor) {
  return std::pair(OPENSSL_version_major(), OPENSSL_version_minor()) < std::pair(major, minor);
}

// With or without.
class AnyKernel : public test::TlsOverTcp {};

class Ktls : public test::TlsOverTcp {
 protected:
  void SetUp() override {
    const State can = kernel_tls_support().state;
    if (can == State::kActive) return;
    ASSERT_EQ(std::getenv("HEDDLE_KTLS_EXPECTED"), nullptr) << describe(can);
    GTEST_SKIP() << describe(can);
  }

  // What a connection gets under TLS 1.3 for receiving.
  static State receive_under_tls13() {
    if (openssl_before(3, 2)) return State::kOldOpenssl;
    return kernel_tls_support().key_update ? State::kActive : State::kKeyUpdate;
  }

  static void expect_text(const Received& got, const std::string& text) {
    EXPECT_TRUE(got.end) << got.end.error().message();
    EXPECT_TRUE(got.text == text) << got.text.size() << " bytes of " << text.size();
  }

  void both_ways(Connection& made, const std::string& text) {
    scope([&](Scope& fibers) {
      for (Stream* stream : {&*made.client, &*made.server}) {
        ASSERT_TRUE(fibers.spawn(
            "sends", [&, stream] { EXPECT_TRUE(stream->write(bytes(text), patience())); }));
        ASSERT_TRUE(fibers.spawn(
            "receives", [&, stream] { expect_text(receive(*stream, text.size()), text); }));
      }
    });
  }
};

// --- What it does ------------------------------------------------------------------------------

struct Suite {
  const char* name;
  TlsVersion version;
  const char* cipher;
};

class KtlsSuite : public Ktls, public testing::WithParamInterface<Suite> {};

TEST_P(KtlsSuite, FileArrivesAsItIsAndTheKernelHasEncryptedIt) {
  const Suite& suite = GetParam();
  const bool tls13 = suite.version == TlsVersion::kTls13;
  use_version(suite.version);
  (tls13 ? server_context_.set_ciphersuites(suite.cipher)
         : server_context_.set_ciphers(suite.cipher))
      .value();
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  const std::string text = pattern(8 * 1024 * 1024);
  const ScratchFile file(text);
  auto before = tls_stat();
  run([&] {
    Connection made = connected();
    EXPECT_EQ(made.server->connection_state().cipher, suite.cipher);
    EXPECT_EQ(made.server->ktls_send(), State::kActive) << describe(made.server->ktls_send());
    EXPECT_EQ(made.server->ktls_recv(), tls13 ? receive_under_tls13() : State::kActive)
        << describe(made.server->ktls_recv());
    EXPECT_EQ(made.client->ktls_send(), State::kNotAsked);
    auto during = tls_stat();
    EXPECT_EQ(during["TlsTxSw"] - before["TlsTxSw"], 1);
    const bool receives = made.server->ktls_recv() == State::kActive;
    EXPECT_EQ(during["TlsRxSw"] - before["TlsRxSw"], receives ? 1 : 0);
    together(
        [&] {
          EXPECT_EQ(made.server->sendfile(file.fd(), 0, text.size(), patience()).value(),
                    text.size());
        },
        [&] { EXPECT_TRUE(receive(*made.client, text.size()).text == text); });
    both_ways(made, text.substr(0, 1'000'000));
    together([&] { EXPECT_TRUE(made.server->close(patience())); },
             [&] { EXPECT_TRUE(made.client->close(patience())); });
  });
  EXPECT_EQ(tls_stat()["TlsDecryptError"], before["TlsDecryptError"]);
}

INSTANTIATE_TEST_SUITE_P(
    Suites, KtlsSuite,
    testing::Values(Suite{"tls12_aes128", TlsVersion::kTls12, "ECDHE-ECDSA-AES128-GCM-SHA256"},
                    Suite{"tls12_aes256", TlsVersion::kTls12, "ECDHE-ECDSA-AES256-GCM-SHA384"},
                    Suite{"tls12_chacha20", TlsVersion::kTls12, "ECDHE-ECDSA-CHACHA20-POLY1305"},
                    Suite{"tls13_aes128", TlsVersion::kTls13, "TLS_AES_128_GCM_SHA256"},
                    Suite{"tls13_aes256", TlsVersion::kTls13, "TLS_AES_256_GCM_SHA384"},
                    Suite{"tls13_chacha20", TlsVersion::kTls13, "TLS_CHACHA20_POLY1305_SHA256"}),
    [](const auto& each) { return each.param.name; });

TEST_F(Ktls, BothEndsMayHaveIt) {
  for (const TlsVersion version : {TlsVersion::kTls12, TlsVersion::kTls13}) {
    use_version(version);
    server_context_.set_kernel_tls(KernelTls::kOn).value();
    client_context_.set_kernel_tls(KernelTls::kOn).value();
    run([&] {
      Connection made = connected();
      EXPECT_EQ(made.server->ktls_send(), State::kActive);
      EXPECT_EQ(made.client->ktls_send(), State::kActive);
      both_ways(made, pattern(2'000'000));
      // close_notify is a record that the kernel has to be told the type of.
      EXPECT_TRUE(made.client->shutdown_write(patience()));
      EXPECT_EQ(read_some(*made.server).value(), 0U);
    });
  }
}

TEST_F(Ktls, ConnectionsAreCountedWithWhatTheyGot) {
  use_version(TlsVersion::kTls12);
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  const KernelTlsStats before = kernel_tls_stats();
  run([&] { (void)connected(); });
  const KernelTlsStats after = kernel_tls_stats();
  constexpr auto kActive = static_cast<std::size_t>(State::kActive);
  EXPECT_EQ(after.connections, before.connections + 1);
  EXPECT_EQ(after.send.at(kActive), before.send.at(kActive) + 1);
  EXPECT_EQ(after.receive.at(kActive), before.receive.at(kActive) + 1);
}

// What a tampered record is to OpenSSL it is to the kernel, and to us.
TEST_F(Ktls, TamperedRecordIsAProtocolFailureInTheKernelToo) {
  use_version(TlsVersion::kTls12);
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  const long before = tls_stat()["TlsDecryptError"];
  run([&] {
    Connection made = connected();
    ASSERT_EQ(made.server->ktls_recv(), State::kActive);
    // Application data, TLS 1.2, 32 bytes that nobody has encrypted.
    std::array<std::byte, 37> record{std::byte{23}, std::byte{3}, std::byte{3}, std::byte{0},
                                     std::byte{32}};
    auto& below = static_cast<Socket&>(made.client->transport());
    EXPECT_TRUE(below.write(record, patience()));
    EXPECT_EQ(read_some(*made.server).error().code, Errc::kProtocol);
    EXPECT_EQ(read_some(*made.server).error().code, Errc::kProtocol);
  });
  EXPECT_EQ(tls_stat()["TlsDecryptError"], before + 1);
}

TEST_F(Ktls, CutConnectionIsTruncatedNotEnded) {
  use_version(TlsVersion::kTls12);
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  run([&] {
    Connection made = connected();
    ASSERT_EQ(made.server->ktls_recv(), State::kActive);
    made.client->transport().shutdown_write();
    EXPECT_EQ(read_some(*made.server).error().code, Errc::kTruncated);
  });
}

// --- KeyUpdate -----------------------------------------------------------------------------------

class KtlsKeyUpdate : public Ktls {
 protected:
  void SetUp() override {
    Ktls::SetUp();
    use_version(TlsVersion::kTls13);
  }

  // Sends one from `stream`, with a byte behind it. `type`: SSL_KEY_UPDATE_...
  void send_key_update(Stream& stream, int type) {
    ASSERT_EQ(SSL_key_update(stream.native_handle(), type), 1);
    EXPECT_TRUE(stream.write(bytes("u"), patience()));
  }

  // After a KeyUpdate that the kernel's keys do not survive: all that was sent before arrives, then
  // a clean cut.
  void expect_refused(Connection& made, const KernelTlsStats& before) {
    const auto written = made.server->write(bytes("x"), patience());
    EXPECT_EQ(written.error().code, Errc::kDisconnected);
    EXPECT_NE(written.error().message().find("KeyUpdate"), std::string::npos)
        << written.error().message();
    EXPECT_FALSE(made.server->write(bytes("x"), patience()));
    EXPECT_EQ(read_some(*made.server).error().code, Errc::kDisconnected) << "and it stays so";
    EXPECT_EQ(kernel_tls_stats().key_updates_refused, before.key_updates_refused + 1);
    made.server.reset();
    const Received got = receive(*made.client);
    EXPECT_EQ(got.text, "before");
    EXPECT_EQ(got.end.error().code, Errc::kTruncated) << "nothing garbled: no bad record";
  }
};

TEST_F(KtlsKeyUpdate, OneThatAsksForAnAnswerNeverGarbles) {
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  const KernelTlsStats before = kernel_tls_stats();
  const long errors = tls_stat()["TlsDecryptError"];
  run([&] {
    Connection made = connected();
    EXPECT_TRUE(made.server->write(bytes("before"), patience()));
    send_key_update(*made.client, SSL_KEY_UPDATE_REQUESTED);
    EXPECT_EQ(receive(*made.server, 1).text, "u");
    if (!kernel_tls_support().key_update) return expect_refused(made, before);
    EXPECT_EQ(receive(*made.client, 6).text, "before");
    both_ways(made, pattern(1'000'000));
    EXPECT_EQ(made.server->ktls_send(), State::kActive);
  });
  EXPECT_EQ(tls_stat()["TlsDecryptError"], errors);
}

TEST_F(KtlsKeyUpdate, OurOwnNeverGarbles) {
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  const KernelTlsStats before = kernel_tls_stats();
  run([&] {
    Connection made = connected();
    EXPECT_TRUE(made.server->write(bytes("before"), patience()));
    ASSERT_EQ(SSL_key_update(made.server->native_handle(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    if (!kernel_tls_support().key_update) return expect_refused(made, before);
    EXPECT_TRUE(made.server->write(bytes("after"), patience()));
    EXPECT_EQ(receive(*made.client, 11).text, "beforeafter");
  });
}

TEST_F(KtlsKeyUpdate, OneThatAsksForNothingDoesNoHarm) {
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  const KernelTlsStats before = kernel_tls_stats();
  run([&] {
    Connection made = connected();
    for (int i = 0; i < 3; ++i) {
      send_key_update(*made.client, SSL_KEY_UPDATE_NOT_REQUESTED);
      EXPECT_EQ(receive(*made.server, 1).text, "u");
      both_ways(made, pattern(100'000));
    }
  });
  EXPECT_EQ(kernel_tls_stats().key_updates_refused, before.key_updates_refused);
}

TEST_F(KtlsKeyUpdate, SendfileGoesOnUnderTheOldKeysUntilTheAnswerIsDue) {
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  const std::string text = pattern(1'000'000);
  const ScratchFile file(text);
  run([&] {
    Connection made = connected();
    send_key_update(*made.client, SSL_KEY_UPDATE_REQUESTED);
    EXPECT_EQ(receive(*made.server, 1).text, "u");
    const bool answers = kernel_tls_support().key_update;
    together(
        [&] {
          EXPECT_EQ(made.server->sendfile(file.fd(), 0, text.size(), patience()).value(),
                    text.size());
          // The answer finds the socket full, and has to wait.
          if (!answers) return;
          EXPECT_TRUE(made.server->write(bytes(text), patience()));
        },
        [&] {
          const std::string all = answers ? text + text : text;
          expect_text(receive(*made.client, all.size()), all);
        });
  });
}

// The point of kAutomatic.
TEST_F(KtlsKeyUpdate, AutomaticKeepsOutOfTheTrap) {
  server_context_.set_kernel_tls(KernelTls::kAutomatic).value();
  run([&] {
    Connection made = connected();
    EXPECT_EQ(made.server->ktls_send(),
              kernel_tls_support().key_update ? State::kActive : State::kKeyUpdate);
    for (int i = 0; i < 3; ++i) {
      send_key_update(*made.client, SSL_KEY_UPDATE_REQUESTED);
      EXPECT_EQ(receive(*made.server, 1).text, "u");
      both_ways(made, pattern(100'000));
      ASSERT_EQ(SSL_key_update(made.server->native_handle(), SSL_KEY_UPDATE_REQUESTED), 1);
      both_ways(made, pattern(100'000));
    }
  });
}

// --- Why not -------------------------------------------------------------------------------------

TEST_F(Ktls, CipherThatTheKernelDoesNotKnowIsSaidAndWorks) {
  use_version(TlsVersion::kTls12);
  server_context_.set_ciphers("ECDHE-ECDSA-AES128-SHA256").value();
  server_context_.set_kernel_tls(KernelTls::kAutomatic).value();
  // Not among those that our client offers.
  client_context_.set_ciphers("ECDHE-ECDSA-AES128-SHA256").value();
  run([&] {
    Connection made = connected();
    EXPECT_EQ(made.server->ktls_send(), State::kCipher);
    EXPECT_EQ(made.server->ktls_recv(), State::kCipher);
    both_ways(made, pattern(200'000));
  });
}

TEST_F(Ktls, WhoInsistsGetsAFailureThatSaysWhy) {
  use_version(TlsVersion::kTls12);
  server_context_.set_ciphers("ECDHE-ECDSA-AES128-SHA256").value();
  client_context_.set_ciphers("ECDHE-ECDSA-AES128-SHA256").value();
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  for (const bool explicitly : {true, false}) {
    run([&] {
      Connection made = open();
      together(
          [&] {
            const Result<void> failed = explicitly ? made.server->handshake(patience())
                                                   : made.server->write(bytes("x"), patience());
            EXPECT_EQ(failed.error().code, Errc::kInvalid);
            EXPECT_NE(failed.error().message().find("cipher"), std::string::npos);
            EXPECT_EQ(made.server->write(bytes("x"), patience()).error().code, Errc::kInvalid);
            made.server.reset();
          },
          [&] {
            EXPECT_EQ(receive(*made.client).text, "") << "nothing leaves unless by the kernel";
          });
    });
  }
}

TEST_F(Ktls, SettingThatForbidsItIsSaid) {
  server_context_.set_kernel_tls(KernelTls::kAutomatic).value();
  use_version(TlsVersion::kTls12);
  ASSERT_EQ(SSL_CTX_set_max_send_fragment(server_context_.native_handle(), 4096), 1);
  run([&] {
    Connection made = connected();
    EXPECT_EQ(made.server->ktls_send(), State::kSetting) << describe(made.server->ktls_send());
    both_ways(made, pattern(200'000));
  });
}

TEST_F(Ktls, UnixSocketAndPipeAreNoTcpSocket) {
  const std::string path =
      "unix:" + testing::TempDir() + "heddle-ktls-" + std::to_string(::getpid());
  server_context_.set_kernel_tls(KernelTls::kAutomatic).value();
  run([&] {
    Connection made = connected(path);
    EXPECT_EQ(made.server->ktls_send(), State::kNoSocket);
    EXPECT_EQ(made.server->ktls_recv(), State::kNoSocket);
    both_ways(made, pattern(200'000));
  });
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  sim::World world(1);
  sim::Pipe pipe(world);
  auto refused = Stream::create(server_context_, pipe.b());
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
  EXPECT_NE(refused.error().message().find("TCP"), std::string::npos);
}

TEST_F(Ktls, BeforeTheHandshakeNothingIsKnown) {
  server_context_.set_kernel_tls(KernelTls::kOn).value();
  run([&] {
    Connection made = open();
    EXPECT_EQ(made.server->ktls_send(), State::kHandshake);
    EXPECT_EQ(made.client->ktls_send(), State::kNotAsked);
  });
}

TEST_F(AnyKernel, DetectionSaysSoAndAllElseIsAsItWas) {
  const KernelTlsSupport& support = kernel_tls_support();
  if (support.state == State::kActive) GTEST_SKIP() << "this kernel has it";
  EXPECT_FALSE(support.key_update);
  const auto refused = server_context_.set_kernel_tls(KernelTls::kOn);
  EXPECT_EQ(refused.error().code, Errc::kInvalid);
  EXPECT_EQ(refused.error().sys_errno, support.sys_errno);
  EXPECT_EQ(server_context_.kernel_tls(), KernelTls::kOff);
  server_context_.set_kernel_tls(KernelTls::kAutomatic).value();
  const KernelTlsStats before = kernel_tls_stats();
  run([&] {
    Connection made = connected();
    EXPECT_EQ(made.server->ktls_send(), support.state);
    EXPECT_EQ(made.server->ktls_recv(), support.state);
    EXPECT_EQ(SSL_get_options(made.server->native_handle()) & SSL_OP_ENABLE_KTLS, 0U);
  });
  const auto state = static_cast<std::size_t>(support.state);
  EXPECT_EQ(kernel_tls_stats().send.at(state), before.send.at(state) + 1);
}

TEST_F(AnyKernel, ReadmeSendsAFile) {
  const std::string text = pattern(100'000);
  const ScratchFile file(text);
  run([&] {
    auto [below, server] = sockets();
    auto client =
        Stream::create(client_context_, std::move(below), {.server_name = test::kServerName})
            .value();
    together(
        [&, &socket = server] {
          EXPECT_EQ(test::send_file(server_context_, std::move(socket), file.fd()).value(),
                    text.size());
        },
        [&] {
          EXPECT_TRUE(receive(client).text == text);
          EXPECT_TRUE(client.close(patience()));
        });
  });
}

TEST(KernelTlsState, EachIsDescribedInItsOwnWords) {
  std::map<std::string, int> seen;
  for (std::size_t i = 0; i < kKernelTlsStates; ++i) {
    const std::string text = describe(static_cast<State>(i));
    EXPECT_GT(text.size(), std::string("kernel TLS: ").size());
    EXPECT_EQ(seen[text]++, 0) << text;
  }
}

}  // namespace
}  // namespace heddle
