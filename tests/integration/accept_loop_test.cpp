// serve(): how it ends, how much it takes, what it tells. And listeners that are closed or adopted.
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/signals.h"
#include "heddle/socket.h"
#include "heddle/sync.h"

#include "base/unique_fd.h"
#include "support/settle.h"

namespace heddle {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

const Address kAnyPort = Address::parse("127.0.0.1:0").value();
constexpr auto kNever = Deadline::never();

class AcceptLoopTest : public testing::Test {
 protected:
  // Runs `body` in a fiber.
  void run(std::function<void()> body) {
    ASSERT_TRUE(runtime_.spawn("test", std::move(body)));
    runtime_.run();
  }

  Socket client() { return connect(runtime_, listener_.address(), kNever).value(); }

  // A handler that waits for the gate and answers; one that is cancelled says so.
  Result<void> answer(Socket& socket) {
    started_.release();
    if (const auto waited = gate_.acquire(); !waited) {
      ++cancelled_;
      return waited.error();
    }
    return socket.write("answer", kNever);
  }

  auto start(Scope& fibers, ServeOptions options) {
    return fibers
        .spawn("serve",
               [this, options] {
                 serve(
                     listener_, [this](Socket socket) { return answer(socket); }, options);
               })
        .value();
  }

  // The same until SIGUSR1 or SIGUSR2 comes.
  auto start_until_signal(Scope& fibers, ServeOptions options) {
    auto signals = Signals::create(runtime_, {SIGUSR1, SIGUSR2}).value();
    auto serve_signals = [this, options, mine = std::move(signals)]() mutable {
      return serve_until(
          std::move(mine), listener_, [this](Socket socket) { return answer(socket); }, options);
    };
    return fibers.spawn("serve", std::move(serve_signals)).value();
  }

  // Runs `body(server, socket)` while a handler waits for the gate, to answer to `socket`.
  template <typename Body>
  void serve_one(ServeOptions options, Body body) {
    run([&] {
      scope([&](Scope& fibers) {
        auto server = start(fibers, std::move(options));
        auto socket = client();
        ASSERT_TRUE(started_.acquire());
        body(server, socket);
      });
    });
  }

  static std::string read(Socket& socket) {
    std::array<std::byte, 64> buffer;
    const auto count = socket.read(buffer, kNever);
    return count ? std::string(reinterpret_cast<const char*>(buffer.data()), *count)
                 : count.error().message();
  }

  Runtime runtime_ = Runtime::create().value();
  Listener listener_ = Listener::create(runtime_, kAnyPort).value();
  Semaphore started_{0};
  Semaphore gate_{0};
  int cancelled_ = 0;
};

TEST_F(AcceptLoopTest, HandlersFinishDuringTheGraceWhileNewConnectionsAreRefused) {
  serve_one({.grace = hours(1)}, [this](auto& server, Socket& socket) {
    server.cancel();
    test::settle_runtime();
    EXPECT_FALSE(server.finished());
    auto refused = connect(runtime_, listener_.address(), kNever);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().sys_errno, ECONNREFUSED);
    gate_.release();
    EXPECT_EQ(read(socket), "answer");
    EXPECT_TRUE(server.join());
    EXPECT_EQ(cancelled_, 0);
  });
}

TEST_F(AcceptLoopTest, HandlersAreCancelledAtTheEndOfTheGrace) {
  for (const Duration grace : {Duration::zero(), Duration(milliseconds(1))}) {
    listener_ = Listener::create(runtime_, kAnyPort).value();
    serve_one({.grace = grace}, [](auto& server, Socket& socket) {
      server.cancel();
      EXPECT_TRUE(server.join());
      EXPECT_EQ(read(socket), "");
    });
  }
  EXPECT_EQ(cancelled_, 2);
}

TEST_F(AcceptLoopTest, StopOfTheRuntimeDoesNotWaitForTheGrace) {
  serve_one({.grace = hours(1)}, [this](auto& server, Socket& /*socket*/) {
    server.cancel();
    test::settle_runtime();
    runtime_.stop();
  });
  EXPECT_EQ(cancelled_, 1);
}

TEST_F(AcceptLoopTest, ClosingTheListenerStopsItAsCancellingDoes) {
  serve_one({.grace = hours(1)}, [this](auto& server, Socket& socket) {
    listener_.close();
    test::settle_runtime();
    EXPECT_FALSE(server.finished());
    gate_.release();
    EXPECT_EQ(read(socket), "answer");
    EXPECT_TRUE(server.join());
  });
}

TEST_F(AcceptLoopTest, CancellingAfterTheListenerWasClosedEndsTheGrace) {
  serve_one({.grace = hours(1)}, [this](auto& server, Socket& /*socket*/) {
    listener_.close();
    test::settle_runtime();
    server.cancel();
    EXPECT_TRUE(server.join());
  });
  EXPECT_EQ(cancelled_, 1);
}

TEST_F(AcceptLoopTest, SignalDrainsAsCancellingDoesAndIsNotCaughtASecondTime) {
  const auto handler_of = [](int signal) {
    struct sigaction action {};
    EXPECT_EQ(::sigaction(signal, nullptr, &action), 0);
    return action.sa_handler;
  };
  run([&] {
    scope([&](Scope& fibers) {
      auto server = start_until_signal(fibers, {.grace = hours(1)});
      auto socket = client();
      ASSERT_TRUE(started_.acquire());
      EXPECT_NE(handler_of(SIGUSR2), SIG_DFL);
      ASSERT_EQ(std::raise(SIGUSR2), 0);
      test::settle_runtime();
      EXPECT_FALSE(server.finished());
      EXPECT_FALSE(connect(runtime_, listener_.address(), kNever));
      EXPECT_EQ(handler_of(SIGUSR1), SIG_DFL);
      EXPECT_EQ(handler_of(SIGUSR2), SIG_DFL);
      server.cancel();  // Too late: it drains, and was stopped by the signal.
      test::settle_runtime();
      gate_.release();
      EXPECT_EQ(read(socket), "answer");
      EXPECT_EQ(server.join().value(), SIGUSR2);
    });
  });
  EXPECT_EQ(cancelled_, 0);
}

TEST_F(AcceptLoopTest, ServeUntilASignalAlsoEndsWithItsFiberAndItsListener) {
  run([&] {
    scope([&](Scope& fibers) {
      auto server = start_until_signal(fibers, {});
      test::settle_runtime();
      listener_.close();
      EXPECT_EQ(server.join().error().code, Errc::kDisconnected);

      listener_ = Listener::create(runtime_, kAnyPort).value();
      server = start_until_signal(fibers, {});
      auto socket = client();
      ASSERT_TRUE(started_.acquire());
      server.cancel();
      EXPECT_EQ(server.join().error().code, Errc::kCancelled);
      EXPECT_EQ(cancelled_, 1);
      EXPECT_FALSE(connect(runtime_, listener_.address(), kNever));
    });
  });
}

TEST_F(AcceptLoopTest, NoMoreConnectionsThanAllowedAreOpen) {
  run([this] {
    scope([this](Scope& fibers) {
      auto server = start(fibers, {.connections_max = 2});
      std::vector<Socket> clients;
      for (int i = 0; i < 5; ++i) clients.push_back(client());
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(started_.acquire());
        if (i == 0) {
          ASSERT_TRUE(started_.acquire());
        }
        test::settle_runtime();
        EXPECT_EQ(started_.available(), 0U) << "two are open";
        gate_.release();
        if (i == 3) break;
      }
      gate_.release();
      for (Socket& each : clients) EXPECT_EQ(read(each), "answer");
      server.cancel();
    });
  });
}

TEST_F(AcceptLoopTest, ServeThatWaitsForRoomCanBeStopped) {
  serve_one({.connections_max = 1}, [](auto& server, Socket& /*socket*/) {
    test::settle_runtime();
    server.cancel();
    EXPECT_TRUE(server.join());
  });
}

TEST_F(AcceptLoopTest, ErrorsAndExceptionsOfHandlersAreToldAsTheyHappen) {
  run([this] {
    std::vector<std::string> told;
    Semaphore news(0);
    const auto tell = [&](std::string what) {
      told.push_back(std::move(what));
      news.release();
    };
    const ServeOptions options{.on_error = [&](const Error& error) { tell(error.operation); },
                               .on_exception =
                                   [&](const std::exception_ptr& thrown) {
                                     try {
                                       std::rethrow_exception(thrown);
                                     } catch (const std::runtime_error& error) {
                                       tell(error.what());
                                     }
                                   }};
    const auto handle = [](Socket socket) -> Result<void> {
      const std::string word = read(socket);
      if (word == "throw") throw std::runtime_error("thrown");
      if (word == "fail") return Error{.code = Errc::kProtocol, .operation = "failed"};
      return socket.write("fine", kNever);
    };
    scope([&](Scope& fibers) {
      auto server = fibers.spawn("serve", [&] { serve(listener_, handle, options); });
      ASSERT_TRUE(server);
      for (const std::string word : {"throw", "fail"}) {
        auto socket = client();
        ASSERT_TRUE(socket.write(word, kNever));
        ASSERT_TRUE(news.acquire());
      }
      auto socket = client();
      ASSERT_TRUE(socket.write("go on", kNever));
      EXPECT_EQ(read(socket), "fine");
      server->cancel();
      EXPECT_TRUE(server->join()) << "and throws nothing at the end";
    });
    EXPECT_EQ(told, (std::vector<std::string>{"thrown", "failed"}));
  });
}

TEST_F(AcceptLoopTest, ExceptionThatNobodyIsToldOfIsThrownAtTheEnd) {
  run([this] {
    scope([this](Scope& fibers) {
      auto server = fibers.spawn("serve", [this] {
        serve(listener_, [this](const Socket& /*socket*/) {
          started_.release();
          throw std::runtime_error("thrown");
        });
      });
      ASSERT_TRUE(server);
      auto socket = client();
      ASSERT_TRUE(started_.acquire());
      server->cancel();
      EXPECT_THROW((void)server->join(), std::runtime_error);
    });
  });
}

TEST_F(AcceptLoopTest, AcceptReturnsWhenTheListenerIsClosedAndFailsFromThenOn) {
  run([this] {
    scope([this](Scope& fibers) {
      auto accepting = fibers.spawn("accept", [this] { return listener_.accept(kNever); });
      ASSERT_TRUE(accepting);
      test::settle_runtime();
      listener_.close();
      listener_.close();  // Once is enough.
      EXPECT_EQ(accepting->join().error().code, Errc::kDisconnected);
      EXPECT_EQ(listener_.accept(kNever).error().code, Errc::kDisconnected);
    });
  });
}

bool is_open(int descriptor) {
  return ::fcntl(descriptor, F_GETFD) >= 0;
}

TEST_F(AcceptLoopTest, SocketThatListensAlreadyIsAdopted) {
  run([this] {
    const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // It blocks.
    ASSERT_EQ(::bind(listening, kAnyPort.data(), kAnyPort.size()), 0);
    ASSERT_EQ(::listen(listening, 16), 0);
    listener_ = Listener::adopt(runtime_, listening).value();
    EXPECT_EQ(listener_.accept(Deadline::at(TimePoint::min())).error().code, Errc::kTimedOut);
    auto socket = client();
    auto accepted = listener_.accept(kNever);
    EXPECT_TRUE(accepted) << accepted.error().message();
    { const Listener destroyed = std::move(listener_); }
    EXPECT_FALSE(is_open(listening));
  });
}

TEST_F(AcceptLoopTest, WhatDoesNotListenIsNotAdopted) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd other(ends[1]);
  const int unbound = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int packets = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un automatic{};
  automatic.sun_family = AF_UNIX;
  ASSERT_EQ(::bind(packets, reinterpret_cast<const sockaddr*>(&automatic), sizeof(sa_family_t)), 0);
  ASSERT_EQ(::listen(packets, 1), 0);
  for (const int wrong : {ends[0], unbound, packets}) {
    auto refused = Listener::adopt(runtime_, wrong);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid) << refused.error().message();
    EXPECT_FALSE(is_open(wrong));
  }
}

TEST_F(AcceptLoopTest, PathIsRemovedWhenItsListenerIsClosedAndStaysIfItWasAdopted) {
  std::string folder = testing::TempDir() + "heddle-adopt-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::filesystem::path path = std::filesystem::path(folder) / "socket";
  const Address address = Address::from_unix_path(path.string()).value();
  auto own = Listener::create(runtime_, address).value();
  own.close();
  EXPECT_FALSE(std::filesystem::exists(path));
  const int listening = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(listening, address.data(), address.size()), 0);
  ASSERT_EQ(::listen(listening, 16), 0);
  (void)Listener::adopt(runtime_, listening).value();
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace heddle
