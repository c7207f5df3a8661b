// http::Server's deadlines, limits and drain, with deadlines short enough to be waited for.
// Nothing here depends on how long something takes, only on that it ends.
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/listener.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"

#include "http/server.h"

namespace heddle::http {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr std::size_t kBigBytes = std::size_t{64} * 1024 * 1024;
constexpr std::string_view kRequest = "GET /small HTTP/1.1\r\nHost: x\r\n\r\n";
constexpr std::string_view kBigRequest = "GET /big HTTP/1.1\r\nHost: x\r\n\r\n";

// A server on a port of its own, and the clients of a test, on one runtime.
class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    std::string name = (fs::temp_directory_path() / "heddle-server-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
    std::ofstream(folder_ / "small") << "0123456789";
    std::ofstream(folder_ / "big").close();
    fs::resize_file(folder_ / "big", kBigBytes);
    site_.emplace(Root::create(folder_).value());
    identity_ = make_self_signed({"localhost"}, KeyType::kEd25519).value();
    EXPECT_TRUE(server_context_.use_cert_chain(identity_.certificate_pem, identity_.key_pem));
    EXPECT_TRUE(client_context_.add_trusted_certificates(
        std::as_bytes(std::span(identity_.certificate_pem))));
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Runs `client` beside a server, stops the server, and waits for its end.
  void run(ServerOptions options, std::function<void()> client) {
    Listener listener = Listener::create(runtime_, Address::parse("127.0.0.1:0").value()).value();
    address_ = listener.address();
    server_.emplace(std::move(listener), server_context_, *site_, std::move(options));
    const auto beside_server = [&](Scope& fibers) {
      auto served = fibers.spawn("server", [&] { return server_->run(); }).value();
      client();
      server_->stop();
      EXPECT_TRUE(served.join());
    };
    const auto test = runtime_.spawn("test", [&] { scope(beside_server); });
    ASSERT_TRUE(test);
    runtime_.run();
    EXPECT_EQ(server_->open_connections(), 0U);
  }

  Socket connect_tcp() { return connect(runtime_, *address_, Deadline::never()).value(); }

  Stream connect_tls() {
    auto stream =
        Stream::create(client_context_, connect_tcp(), {.server_name = "localhost"}).value();
    EXPECT_TRUE(stream.handshake(Deadline::never()));
    return stream;
  }

  // Parks, repeatedly, until `condition`.
  static void wait_until(const std::function<bool()>& condition) {
    while (!condition()) ASSERT_TRUE(this_fiber::sleep_until(this_fiber::after(2ms)));
  }

  fs::path folder_;
  Runtime runtime_ = Runtime::create().value();
  std::optional<Site> site_;
  Identity identity_;
  Context server_context_ = Context::create(Role::kServer).value();
  Context client_context_ = Context::create(Role::kClient, Trust::kNothing).value();
  std::optional<Address> address_;
  std::optional<Server> server_;
};

Result<void> send(Stream& stream, std::string_view text) {
  return stream.write(std::as_bytes(std::span(text)), Deadline::never());
}

// All that comes, and how it ends.
struct Received {
  std::string bytes;
  std::optional<Errc> failure;  // None: with close_notify.
};

Received receive(Stream& stream, std::size_t bytes_max = SIZE_MAX) {
  Received received;
  std::array<std::byte, 16384> buffer;
  while (received.bytes.size() < bytes_max) {
    const std::size_t room = std::min(buffer.size(), bytes_max - received.bytes.size());
    const Result<std::size_t> got = stream.read(std::span(buffer).first(room), Deadline::never());
    if (!got) received.failure = got.error().code;
    if (!got || *got == 0) break;
    received.bytes.append(reinterpret_cast<const char*>(buffer.data()), *got);
  }
  return received;
}

// Asks for the small file, and reads all of the answer.
bool is_answered(Stream& stream) {
  std::string answer;
  bool more = send(stream, kRequest).has_value();
  while (more && !answer.ends_with("0123456789")) {
    const std::string next = receive(stream, 1).bytes;
    more = !next.empty();
    answer += next;
  }
  return more && answer.starts_with("HTTP/1.1 200");
}

TEST_F(HttpServerTest, AnswersUntilTheClientCloses) {
  run({}, [&] {
    auto client = connect_tls();
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(send(client, kRequest));
      std::string answer;
      while (!answer.ends_with("0123456789")) answer += receive(client, 1).bytes;
    }
    EXPECT_TRUE(client.close(Deadline::never()));
    wait_until([&] { return server_->open_connections() == 0; });
    EXPECT_EQ(server_->stats().requests, 3U);
    EXPECT_EQ(server_->stats().connections, 1U);
  });
}

TEST_F(HttpServerTest, IdleConnectionIsClosedInOrder) {
  ServerOptions options;
  options.timeouts.idle = 30ms;
  run(options, [&] {
    auto client = connect_tls();
    const Received received = receive(client);
    EXPECT_EQ(received.failure, std::nullopt);
    EXPECT_EQ(received.bytes, "");
  });
}

TEST_F(HttpServerTest, HeadHasOneDeadlineHoweverItTrickles) {
  ServerOptions options;
  options.timeouts.head = 100ms;
  run(options, [&] {
    auto client = connect_tls();
    ASSERT_TRUE(send(client, "GET / HTTP/1.1\r\nHost: "));
    bool answered = false;
    const auto trickle = [&] {
      while (!answered && send(client, "x")) {
        EXPECT_TRUE(this_fiber::sleep_until(this_fiber::after(5ms)));
      }
    };
    scope([&](Scope& fibers) {
      EXPECT_TRUE(fibers.spawn("trickle", trickle));
      EXPECT_TRUE(receive(client).bytes.starts_with("HTTP/1.1 408 "));
      answered = true;
    });
  });
}

TEST_F(HttpServerTest, BodyHasADeadline) {
  ServerOptions options;
  options.timeouts.body = 30ms;
  run(options, [&] {
    auto client = connect_tls();
    ASSERT_TRUE(send(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"));
    EXPECT_TRUE(receive(client).bytes.starts_with("HTTP/1.1 408 "));
  });
}

TEST_F(HttpServerTest, SilentPeerIsDroppedAndCounted) {
  ServerOptions options;
  options.timeouts.handshake = 30ms;
  run(options, [&] {
    auto client = connect_tcp();
    std::array<std::byte, 1> byte;
    const Result<std::size_t> end = client.read(byte, Deadline::never());
    EXPECT_TRUE(end && *end == 0);
    const auto failed = server_->stats().handshakes_failed;
    EXPECT_EQ(failed.at(static_cast<std::size_t>(Errc::kTimedOut)), 1U);
  });
}

TEST_F(HttpServerTest, JunkIsRefusedAndCounted) {
  run({}, [&] {
    auto client = connect_tcp();
    ASSERT_TRUE(client.write(std::as_bytes(std::span(kRequest)), Deadline::never()));
    EXPECT_TRUE(client.close(Deadline::never()));
    wait_until([&] { return server_->open_connections() == 0; });
    const auto failed = server_->stats().handshakes_failed;
    EXPECT_EQ(failed.at(static_cast<std::size_t>(Errc::kProtocol)), 1U);
  });
}

TEST_F(HttpServerTest, ReaderThatIsStuckIsDropped) {
  ServerOptions options;
  options.timeouts.write = 50ms;
  run(options, [&] {
    auto client = connect_tls();
    ASSERT_TRUE(send(client, kBigRequest));
    wait_until([&] { return server_->open_connections() == 0; });
    const Received received = receive(client);
    EXPECT_LT(received.bytes.size(), kBigBytes);
    EXPECT_NE(received.failure, std::nullopt);
  });
}

// The length is promised by then: only an end without close_notify is honest.
TEST_F(HttpServerTest, FileThatShrinksCutsTheConnection) {
  run({}, [&] {
    auto client = connect_tls();
    ASSERT_TRUE(send(client, kBigRequest));
    ASSERT_EQ(receive(client, 1000).bytes.size(), 1000U);
    fs::resize_file(folder_ / "big", 1);
    const Received received = receive(client);
    EXPECT_LT(received.bytes.size(), kBigBytes - 1000);
    EXPECT_NE(received.failure, std::nullopt);
  });
}

TEST_F(HttpServerTest, AtTheLimitTheLongestIdleConnectionGivesWay) {
  ServerOptions options;
  options.max_connections = 2;
  options.on_exhausted = [](const Error&) { ADD_FAILURE() << "there is one that can go"; };
  run(options, [&] {
    auto first = connect_tls();
    auto second = connect_tls();
    // Now the first is the one that has been idle for less long.
    for (Stream* client : {&second, &first}) {
      EXPECT_TRUE(is_answered(*client));
    }
    auto third = connect_tls();
    receive(second);
    wait_until([&] { return server_->open_connections() == 2; });
    EXPECT_TRUE(is_answered(first));
    EXPECT_TRUE(is_answered(third));
  });
}

TEST_F(HttpServerTest, AtTheLimitMutePeersGiveWay) {
  ServerOptions options;
  options.max_connections = 2;
  run(options, [&] {
    auto one = connect_tcp();
    auto two = connect_tcp();
    wait_until([&] { return server_->open_connections() == 2; });
    auto client = connect_tls();
    ASSERT_TRUE(send(client, kRequest));
    EXPECT_FALSE(receive(client, 100).bytes.empty());
  });
}

TEST_F(HttpServerTest, WhereAllAreAnsweredOthersWaitAndThatIsReportedOnce) {
  ServerOptions options;
  options.max_connections = 2;
  int reports = 0;
  options.on_exhausted = [&](const Error& error) {
    ++reports;
    EXPECT_EQ(error.code, Errc::kExhausted);
  };
  run(options, [&] {
    std::optional<Stream> first = connect_tls();
    auto second = connect_tls();
    for (Stream* client : {&*first, &second}) {
      ASSERT_TRUE(send(*client, kBigRequest));
      ASSERT_EQ(receive(*client, 1000).bytes.size(), 1000U);
    }
    auto third = connect_tcp();
    wait_until([&] { return reports == 1; });
    EXPECT_EQ(server_->stats().connections, 2U);
    first.reset();
    wait_until([&] { return server_->stats().connections == 3; });
    EXPECT_EQ(reports, 1);
  });
}

// What a client sends behind a body (RFC 9112, 2.2) begins no request and ends no idle time.
TEST_F(HttpServerTest, EmptyLinesBetweenRequestsAreNoRequest) {
  ServerOptions options;
  options.timeouts.head = 10ms;
  options.timeouts.idle = 100ms;
  run(options, [&] {
    auto client = connect_tls();
    ASSERT_TRUE(send(client, std::string(kRequest) + "\r\n\r"));
    const std::string all = receive(client).bytes;
    EXPECT_TRUE(all.starts_with("HTTP/1.1 200"));
    EXPECT_TRUE(all.ends_with("0123456789")) << "no 408 behind it";
    EXPECT_EQ(server_->stats().requests, 1U);
  });
}

// A last chunk in pieces, each in a record of its own.
TEST_F(HttpServerTest, BodiesInAnyRecordsAreSkipped) {
  run({}, [&] {
    auto client = connect_tls();
    for (const std::string_view piece :
         {"GET /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "0\r\n", "\r",
          "\n"}) {
      ASSERT_TRUE(send(client, piece));
    }
    EXPECT_TRUE(receive(client, 100).bytes.starts_with("HTTP/1.1 200"));
  });
}

TEST_F(HttpServerTest, PlainHttpIsAnsweredInPlainHttp) {
  ServerOptions options;
  int status = 0;
  options.on_request = [&](const AccessRecord& record) {
    status = record.status;
    EXPECT_TRUE(record.complete);
  };
  run(options, [&] {
    auto client = connect_tcp();
    ASSERT_TRUE(client.write(std::as_bytes(std::span(kRequest)), Deadline::never()));
    std::string answer;
    std::array<char, 1000> some{};
    while (true) {
      const auto got = client.read(std::as_writable_bytes(std::span(some)), Deadline::never());
      if (!got || *got == 0) break;
      answer.append(some.data(), *got);
    }
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 Bad Request\r\n")) << answer;
    EXPECT_NE(answer.find("https://"), std::string::npos);
    EXPECT_EQ(status, 400);
  });
}

TEST_F(HttpServerTest, FailedHandshakesAreReported) {
  ServerOptions options;
  std::optional<Error> failure;
  options.on_handshake_failed = [&](std::string_view peer, const Error& error) {
    EXPECT_TRUE(peer.starts_with("127.0.0.1:"));
    failure = error;
  };
  run(options, [&] {
    auto client = connect_tcp();
    ASSERT_TRUE(client.close(Deadline::never()));
    wait_until([&] { return failure.has_value(); });
    EXPECT_EQ(failure->code, Errc::kTruncated) << failure->message();
  });
}

TEST_F(HttpServerTest, StopClosesIdleConnectionsAndRefusesNewOnes) {
  run({}, [&] {
    auto idle = connect_tls();
    wait_until([&] { return server_->open_connections() == 1; });
    auto mute = connect_tcp();
    wait_until([&] { return server_->open_connections() == 2; });
    server_->stop();
    EXPECT_EQ(receive(idle).failure, std::nullopt);
    wait_until([&] { return server_->open_connections() == 0; });
    EXPECT_FALSE(connect(runtime_, *address_, Deadline::never()));
  });
}

TEST_F(HttpServerTest, StopLetsAnAnswerBeFinished) {
  run({}, [&] {
    auto client = connect_tls();
    ASSERT_TRUE(send(client, kBigRequest));
    const std::string start = receive(client, 1000).bytes;
    server_->stop();
    const Received rest = receive(client);
    EXPECT_EQ(rest.failure, std::nullopt);
    const std::size_t head = start.find("\r\n\r\n") + 4;
    EXPECT_EQ(start.size() - head + rest.bytes.size(), kBigBytes);
  });
}

TEST_F(HttpServerTest, GraceHasAnEnd) {
  ServerOptions options;
  options.grace = 30ms;
  run(options, [&] {
    auto client = connect_tls();
    ASSERT_TRUE(send(client, kBigRequest));
    ASSERT_EQ(receive(client, 1000).bytes.size(), 1000U);
    server_->stop();
    wait_until([&] { return server_->open_connections() == 0; });
    EXPECT_NE(receive(client).failure, std::nullopt);
  });
}

TEST_F(HttpServerTest, RequestsAreReported) {
  ServerOptions options;
  std::string log;
  options.on_request = [&](const AccessRecord& record) {
    log += std::string(record.method) + " " + std::string(record.target) + " " +
           std::to_string(record.status) + " " + std::to_string(record.body_bytes) + "\n";
    EXPECT_TRUE(record.peer.starts_with("127.0.0.1:"));
  };
  run(options, [&] {
    auto client = connect_tls();
    ASSERT_TRUE(send(client, kRequest));
    ASSERT_TRUE(send(client, "HEAD /small HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n"));
    receive(client);
    EXPECT_EQ(log.substr(0, log.rfind(' ')), "GET /small 200 10\nHEAD /small 200 0\n  400");
  });
}

TEST_F(HttpServerTest, RefusedRequestsAreReportedWithWhatTheyAskedFor) {
  ServerOptions options;
  std::string log;
  options.on_request = [&](const AccessRecord& record) {
    log += std::string(record.method) + " " + std::string(record.target) + " " +
           std::to_string(record.status) + "\n";
  };
  run(options, [&] {
    for (const char* request :
         {"GET /a HTTP/2.0\r\n\r\n", "PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
          "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx"}) {
      auto client = connect_tls();
      ASSERT_TRUE(send(client, request));
      receive(client);
    }
    EXPECT_EQ(log, "GET /a 505\nPUT /b 400\nPOST /c 400\n");
  });
}

}  // namespace
}  // namespace heddle::http
