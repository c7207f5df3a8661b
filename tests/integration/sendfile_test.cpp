// Stream::sendfile(): the same outcome whether the kernel encrypts or OpenSSL does, and streams
// over sockets whose context asks for kernel TLS, whatever the kernel says to that.
#include <array>
#include <cerrno>
#include <csignal>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "support/tls_over_tcp.h"

namespace heddle {
namespace {

using std::chrono::milliseconds;
using test::bytes;
using test::Connection;
using test::pattern;
using test::ScratchFile;

struct Case {
  const char* name;
  KernelTls mode;
  TlsVersion version;
};

class SendfileTest : public test::TlsOverTcp, public testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    if (GetParam().mode == KernelTls::kOn) {
      const KernelTlsState can = kernel_tls_support().state;
      if (can != KernelTlsState::kActive) GTEST_SKIP() << describe(can);
    }
    server_context_.set_kernel_tls(GetParam().mode).value();
    client_context_.set_kernel_tls(GetParam().mode).value();
    use_version(GetParam().version);
    // The library must not need the process to have thought of it.
    (void)std::signal(SIGPIPE, SIG_DFL);
  }

  // Whether it should, here and in this case.
  static bool by_kernel() {
    const KernelTlsSupport& support = kernel_tls_support();
    const bool safe = GetParam().version == TlsVersion::kTls12 || support.key_update;
    return GetParam().mode == KernelTls::kOn || (GetParam().mode == KernelTls::kAutomatic && safe &&
                                                 support.state == KernelTlsState::kActive);
  }
  static void expect_by_kernel(const Stream& stream) {
    EXPECT_EQ(stream.ktls_send() == KernelTlsState::kActive, by_kernel())
        << describe(stream.ktls_send());
  }
};

TEST_P(SendfileTest, SendsThePartOfTheFileThatWasAskedFor) {
  const std::string text = pattern(1'500'000);
  const ScratchFile file(text);
  const KernelTlsStats before = kernel_tls_stats();
  run([&] {
    Connection made = connected();
    expect_by_kernel(*made.server);
    together(
        [&] {
          EXPECT_TRUE(made.server->write(bytes("head"), patience()));
          EXPECT_EQ(made.server->sendfile(file.fd(), 0, text.size(), patience()).value(),
                    text.size());
          EXPECT_EQ(made.server->sendfile(file.fd(), 777, 100'001, patience()).value(), 100'001U);
          EXPECT_EQ(made.server->sendfile(file.fd(), 1, 1, patience()).value(), 1U);
          EXPECT_EQ(made.server->sendfile(file.fd(), 1, 0, patience()).value(), 0U);
          EXPECT_TRUE(made.server->write(bytes("tail"), patience()));
          EXPECT_TRUE(made.server->close(patience()));
        },
        [&] {
          const Received got = receive(*made.client);
          EXPECT_TRUE(got.end) << got.end.error().message();
          EXPECT_TRUE(got.text ==
                      "head" + text + text.substr(777, 100'001) + text.substr(1, 1) + "tail");
          EXPECT_TRUE(made.client->close(patience()));
        });
    const KernelTlsStats after = kernel_tls_stats();
    const std::uint64_t sent = text.size() + 100'002;
    EXPECT_EQ(after.sendfile_kernel_bytes - before.sendfile_kernel_bytes, by_kernel() ? sent : 0);
    EXPECT_EQ(after.sendfile_copied_bytes - before.sendfile_copied_bytes, by_kernel() ? 0 : sent);
  });
}

// All of it arrives at once, without anything that is written afterwards to push it.
TEST_P(SendfileTest, SendsLessOnlyWhereTheFileEnds) {
  const std::string text = pattern(100'001);
  const ScratchFile file(text);
  run([&] {
    Connection made = connected();
    EXPECT_EQ(made.server->sendfile(file.fd(), 0, 1'000'000, patience()).value(), text.size());
    EXPECT_TRUE(receive(*made.client, text.size()).text == text);
    EXPECT_EQ(made.server->sendfile(file.fd(), text.size() - 5, 6, patience()).value(), 5U);
    EXPECT_EQ(receive(*made.client, 5).text, text.substr(text.size() - 5));
    EXPECT_EQ(made.server->sendfile(file.fd(), text.size(), 10, patience()).value(), 0U);
    EXPECT_EQ(made.server->sendfile(file.fd(), std::uint64_t{1} << 40, 10, patience()).value(), 0U);
    EXPECT_TRUE(made.server->write(bytes("on"), patience()));
    EXPECT_EQ(receive(*made.client, 2).text, "on");
  });
}

TEST_P(SendfileTest, FileThatShrinksMeanwhileIsAShortCount) {
  const std::string text = pattern(4'000'000);
  ScratchFile file(text);
  run([&] {
    Connection made = connected();
    std::size_t sent = 0;
    together(
        [&] {
          sent = made.server->sendfile(file.fd(), 0, text.size(), patience()).value();
          EXPECT_LT(sent, text.size());
          EXPECT_TRUE(made.server->write(bytes("!"), patience()));
          EXPECT_TRUE(made.server->shutdown_write(patience()));
        },
        [&] {
          // The sender is a few buffers ahead.
          std::string got = receive(*made.client, 1'000'000).text;
          file.truncate(2'000'000);
          got += receive(*made.client).text;
          ASSERT_EQ(got.size(), sent + 1);
          EXPECT_TRUE(std::string_view(got).substr(0, sent) ==
                      std::string_view(text).substr(0, sent));
          EXPECT_EQ(got.back(), '!');
        });
  });
}

TEST_P(SendfileTest, FileThatCannotBeReadIsInvalidAndHarmsNobody) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_NONBLOCK), 0);
  const UniqueFd readable(pipe[0]);
  const UniqueFd writable(pipe[1]);
  run([&] {
    Connection made = connected();
    const auto error_of = [&](int file) {
      const auto sent = made.server->sendfile(file, 0, 10, patience());
      EXPECT_FALSE(sent);
      return sent ? Error{} : sent.error();
    };
    EXPECT_EQ(error_of(-1).code, Errc::kInvalid);
    EXPECT_EQ(error_of(-1).sys_errno, EBADF);
    EXPECT_EQ(error_of(readable.get()).sys_errno, ESPIPE);
    EXPECT_EQ(error_of(readable.get()).code, Errc::kInvalid);
    EXPECT_TRUE(made.server->write(bytes("on"), patience()));
    EXPECT_EQ(receive(*made.client, 2).text, "on");
  });
}

TEST_P(SendfileTest, InterruptedOneEndsWritingOnly) {
  const std::string text = pattern(4'000'000);
  const ScratchFile file(text);
  run([&] {
    Connection made = connected();
    // Nobody reads: it fills the sockets and stops there.
    const auto sent =
        made.server->sendfile(file.fd(), 0, text.size(), this_fiber::after(milliseconds(300)));
    EXPECT_EQ(sent.error().code, Errc::kTimedOut);
    EXPECT_EQ(made.server->sendfile(file.fd(), 0, 1, patience()).error().code, Errc::kDisconnected);
    EXPECT_EQ(made.server->write(bytes("x"), patience()).error().code, Errc::kDisconnected);
    EXPECT_TRUE(made.client->write(bytes("still here"), patience()));
    EXPECT_EQ(receive(*made.server, 10).text, "still here");
  });
}

TEST_P(SendfileTest, VanishedPeerIsAFailureAndNoSignal) {
  const std::string text = pattern(4'000'000);
  const ScratchFile file(text);
  run([&] {
    Connection made = connected();
    together(
        [&] {
          const auto sent = made.server->sendfile(file.fd(), 0, text.size(), patience());
          EXPECT_EQ(sent.error().code, Errc::kDisconnected) << sent.error().message();
          EXPECT_FALSE(made.server->sendfile(file.fd(), 0, 1, patience()));
          EXPECT_FALSE(made.server->write(bytes("x"), patience()));
        },
        [&] {
          EXPECT_TRUE(read_some(*made.client));
          made.client.reset();  // With unread data: a reset.
        });
  });
}

// Neither data nor close_notify, which goes another way, nor what the kernel still holds when the
// socket is closed, may end the process. The kernel takes what it encrypts, and may fail later.
TEST_P(SendfileTest, WhatCannotLeaveIsNoSignal) {
  const std::string text = pattern(1'000'000);
  const ScratchFile file(text);
  run([&] {
    for (const bool data : {true, false}) {
      Connection made = connected();
      made.server->transport().shutdown_write();
      const Result<void> failed = [&]() -> Result<void> {
        if (!data) return made.server->shutdown_write(patience());
        const auto sent = made.server->sendfile(file.fd(), 0, text.size(), patience());
        return sent ? Result<void>() : sent.error();
      }();
      EXPECT_TRUE(by_kernel() || failed.error().code == Errc::kDisconnected);
    }
  });
}

TEST_P(SendfileTest, ClosingWhatAVanishedPeerHasNotReadIsNoSignal) {
  const std::string text = pattern(4'000'000);
  const ScratchFile file(text);
  run([&] {
    Connection made = connected();
    EXPECT_FALSE(
        made.server->sendfile(file.fd(), 0, text.size(), this_fiber::after(milliseconds(50))));
    made.client.reset();  // With unread data: a reset.
    const auto got = read_some(*made.server);
    EXPECT_EQ(got.error().code, Errc::kDisconnected);
    made.server.reset();
  });
}

TEST_P(SendfileTest, MakesTheHandshakeIfNeedBe) {
  const std::string text = pattern(50'000);
  const ScratchFile file(text);
  run([&] {
    Connection made = open();
    together(
        [&] {
          EXPECT_EQ(made.server->sendfile(file.fd(), 0, text.size(), patience()).value(),
                    text.size());
        },
        [&] { EXPECT_TRUE(receive(*made.client, text.size()).text == text); });
    expect_by_kernel(*made.server);
  });
}

// A reader and a writer at each end, pieces of all sizes.
TEST_P(SendfileTest, FullDuplexBesideWrites) {
  const std::string text = pattern(2'000'000);
  const ScratchFile file(text);
  run([&] {
    Connection made = connected();
    const auto send = [&](Stream& stream) {
      std::size_t at = 0;
      for (std::size_t i = 0; at < text.size(); ++i) {
        const std::size_t count = std::min(1 + i * 7919 % 200'000, text.size() - at);
        if (i % 2 == 0) {
          EXPECT_EQ(stream.sendfile(file.fd(), at, count, patience()).value(), count);
        } else {
          EXPECT_TRUE(stream.write(bytes(std::string_view(text).substr(at, count)), patience()));
        }
        at += count;
      }
      EXPECT_TRUE(stream.shutdown_write(patience()));
    };
    scope([&](Scope& fibers) {
      for (Stream* stream : {&*made.client, &*made.server}) {
        ASSERT_TRUE(fibers.spawn("sends", [&send, stream] { send(*stream); }));
        ASSERT_TRUE(fibers.spawn("receives", [this, &text, stream] {
          const Received got = receive(*stream);
          EXPECT_TRUE(got.end) << got.end.error().message();
          EXPECT_TRUE(got.text == text);
        }));
      }
    });
    together([&] { EXPECT_TRUE(made.client->close(patience())); },
             [&] { EXPECT_TRUE(made.server->close(patience())); });
  });
}

// Small pieces are gathered in a buffer of the thread. Two streams that wait in turn must not get
// each other's.
TEST_P(SendfileTest, GatheredPiecesOfWaitingStreamsDoNotMix) {
  run([&] {
    std::array<Connection, 2> both{connected(), connected()};
    const auto pieces_of = [](char letter, std::size_t i) {
      return std::string(1 + i * 37 % 900, static_cast<char>(letter + static_cast<int>(i % 20)));
    };
    constexpr std::size_t kPieces = 2'000;
    scope([&](Scope& fibers) {
      for (std::size_t who = 0; who < both.size(); ++who) {
        const char letter = who == 0 ? 'a' : 'A';
        ASSERT_TRUE(fibers.spawn("sends", [&, who, letter] {
          std::vector<std::string> texts;
          for (std::size_t i = 0; i < kPieces; ++i) texts.push_back(pieces_of(letter, i));
          std::vector<std::span<const std::byte>> pieces;
          for (const std::string& text : texts) pieces.push_back(bytes(text));
          EXPECT_TRUE(both[who].server->write(pieces, patience()));
          EXPECT_TRUE(both[who].server->shutdown_write(patience()));
        }));
      }
      for (std::size_t who = 0; who < both.size(); ++who) {
        const char letter = who == 0 ? 'a' : 'A';
        ASSERT_TRUE(fibers.spawn("receives", [&, who, letter] {
          std::string expected;
          for (std::size_t i = 0; i < kPieces; ++i) expected += pieces_of(letter, i);
          EXPECT_TRUE(receive(*both[who].client).text == expected);
        }));
      }
    });
  });
}

// The records behind close_notify, and close_notify itself, are no data: reading them as such would
// fail.
TEST_P(SendfileTest, CloseWaitsForThePeersEndAndLosesNothing) {
  run([&] {
    Connection made = connected();
    EXPECT_TRUE(made.client->write(bytes("unread"), patience()));
    together([&] { EXPECT_TRUE(made.server->close(patience())); },
             [&] {
               EXPECT_EQ(read_some(*made.client).value(), 0U);
               EXPECT_TRUE(made.client->close(patience()));
             });
  });
}

constexpr std::array kCases = {
    Case{"off_tls12", KernelTls::kOff, TlsVersion::kTls12},
    Case{"off_tls13", KernelTls::kOff, TlsVersion::kTls13},
    Case{"automatic_tls12", KernelTls::kAutomatic, TlsVersion::kTls12},
    Case{"automatic_tls13", KernelTls::kAutomatic, TlsVersion::kTls13},
    Case{"on_tls12", KernelTls::kOn, TlsVersion::kTls12},
    Case{"on_tls13", KernelTls::kOn, TlsVersion::kTls13},
};

INSTANTIATE_TEST_SUITE_P(Modes, SendfileTest, testing::ValuesIn(kCases),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace heddle
