// CONNECT, with proxies that answer anything.
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "heddle/fiber.h"
#include "heddle/tls/http_connect.h"
#include "heddle/tls/stream_transport.h"

#include "support/seeds.h"
#include "support/sim.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

using std::chrono::seconds;
using test::bytes;
using test::together;

constexpr Deadline kNever = Deadline::never();

class HttpConnectSim : public testing::TestWithParam<std::uint64_t> {
 protected:
  static constexpr sim::Faults kRough{.short_io = 3, .would_block = 4, .spurious_wake = 8};

  struct Outcome {
    Result<void> result;
    std::string request;
    std::string rest;  // What the proxy sent behind its head, as the client reads it.
  };

  // Asks a proxy that reads the request's head, sends `answer`, in records of random sizes, and
  // ends.
  Outcome ask(const HttpConnectRequest& request, std::string_view answer) {
    sim::World& world = world_;
    sim::Pipe pipe(world, kRough);
    Outcome outcome;
    world.run([&] {
      auto client = test::client(client_context_, pipe.a());
      auto proxy = test::server(server_context_, pipe.b());
      together({[&] {
                  client.handshake(kNever).value();
                  outcome.result = http_connect(client, request, kNever);
                  if (outcome.result) outcome.rest = test::read_text(client, 1'000, kNever);
                  (void)client.close(kNever);
                },
                [&] {
                  while (!outcome.request.ends_with("\r\n\r\n")) {
                    const std::string next = test::read_text(proxy, 1, kNever);
                    if (next.empty()) break;
                    outcome.request += next;
                  }
                  std::string_view left = answer;
                  while (!left.empty()) {
                    const std::size_t count = 1 + world.below(left.size());
                    if (!proxy.write(bytes(left.substr(0, count)), kNever)) break;
                    left.remove_prefix(count);
                  }
                  (void)proxy.close(kNever);
                }});
    });
    return outcome;
  }

  Error refused(std::string_view answer) {
    const Outcome outcome = ask({.host = "origin.test", .port = 443}, answer);
    EXPECT_FALSE(outcome.result) << answer.substr(0, 60);
    return outcome.result ? Error{} : outcome.result.error();
  }

  Context server_context_ = test::server_context();
  Context client_context_ = test::client_context();
  sim::World world_{GetParam()};
};

TEST_P(HttpConnectSim, RequestIsAsInRfc9110) {
  const std::string ok = "HTTP/1.1 200 OK\r\n\r\n";
  EXPECT_EQ(ask({.host = "origin.test", .port = 443}, ok).request,
            "CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n");
  EXPECT_EQ(ask({.host = "2001:db8::1", .port = 8443}, ok).request,
            "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\r\n");
  // The example of RFC 7617, 2.
  EXPECT_EQ(ask({.host = "h", .port = 1, .credentials = "Aladdin:open sesame"}, ok).request,
            "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n"
            "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
}

TEST_P(HttpConnectSim, NotAByteBehindTheHeadIsLost) {
  const std::string rest = "\r\n220 the origin speaks first\r\n\r\n";
  for (const std::string_view head :
       {"HTTP/1.1 200 Connection established\r\n\r\n", "HTTP/1.0 200 \r\nVia: 1.1 x\r\n\r\n",
        "HTTP/1.1 299\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nServer: old\n\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        "HTTP/1.1 200 OK\r\n\r\n"}) {
    const Outcome outcome = ask({.host = "origin.test", .port = 443}, std::string(head) + rest);
    ASSERT_TRUE(outcome.result) << head << outcome.result.error().message();
    EXPECT_EQ(outcome.rest, rest) << head;
  }
}

TEST_P(HttpConnectSim, RefusalSaysWhy) {
  struct Case {
    std::string_view answer;
    Errc code;
    std::string_view says;
  };
  for (const Case& each :
       {Case{"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\nno",
             Errc::kInvalid, "407"},
        Case{"HTTP/1.1 403 Filtered\r\n\r\n<html>", Errc::kInvalid, "403"},
        Case{"HTTP/1.1 502 Bad Gateway\r\n\r\n", Errc::kUnreachable, "502"},
        Case{"HTTP/1.1 504 \r\n\r\n", Errc::kUnreachable, "504"},
        Case{"HTTP/1.1 418 I'm a teapot\r\n\r\n", Errc::kProtocol, "4xx"},
        Case{"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", Errc::kProtocol, "redirection"},
        Case{"HTTP/1.1 101 Switching Protocols\r\n\r\n", Errc::kProtocol, "101"},
        Case{"HTTP/1.1 599 \r\n\r\n", Errc::kProtocol, "5xx"},
        Case{"HTTP/1.1 2000 OK\r\n\r\n", Errc::kProtocol, "not HTTP"},
        Case{"HTTP/1.1 20 OK\r\n\r\n", Errc::kProtocol, "not HTTP"},
        Case{"HTTP/2.0 200 OK\r\n\r\n", Errc::kProtocol, "not HTTP"},
        Case{"220 mail.test ESMTP\r\n\r\n", Errc::kProtocol, "not HTTP"},
        Case{"HTTP/1.1 200 OK\r\nVia: x\r\n", Errc::kDisconnected, "closed"},
        Case{"", Errc::kDisconnected, "closed"}}) {
    const Error error = refused(each.answer);
    EXPECT_EQ(error.code, each.code) << each.answer;
    EXPECT_EQ(error.context(), "origin.test:443");
    EXPECT_NE(std::string_view(error.detail).find(each.says), std::string_view::npos)
        << each.answer << ": " << error.detail;
  }
}

TEST_P(HttpConnectSim, HeadsThatDoNotEndAreBounded) {
  const std::string filler(1'000'000, 'x');
  EXPECT_EQ(refused("HTTP/1.1 200 " + filler).code, Errc::kProtocol);
  std::string interim;
  while (interim.size() < 100'000) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  EXPECT_EQ(refused(interim).code, Errc::kProtocol);
}

TEST_P(HttpConnectSim, RequestThatWouldBeAnotherOneIsNotSent) {
  for (const std::string_view host : std::initializer_list<std::string_view>{
           "", "a b", "a\r\nX: y", "a/", "u@h", "[::1]", std::string_view("a\0b", 3), "h?", "#"}) {
    const Outcome outcome = ask({.host = std::string(host), .port = 443}, "");
    ASSERT_FALSE(outcome.result) << host;
    EXPECT_EQ(outcome.result.error().code, Errc::kInvalid) << host;
    EXPECT_EQ(outcome.request, "");
  }
  EXPECT_EQ(ask({.host = "h", .port = 0}, "").result.error().code, Errc::kInvalid);
}

TEST_P(HttpConnectSim, MuteProxyIsGivenUpAtTheDeadline) {
  sim::Pipe pipe(world_);
  world_.run([&] {
    auto client = test::client(client_context_, pipe.a());
    auto proxy = test::server(server_context_, pipe.b());
    together({[&] { client.handshake(kNever).value(); }, [&] { proxy.handshake(kNever).value(); }});
    const Deadline deadline = world_.after(seconds(3));
    const auto result = http_connect(client, {.host = "origin.test", .port = 443}, deadline);
    EXPECT_EQ(result.error().code, Errc::kTimedOut);
    EXPECT_EQ(world_.now(), deadline.time());
  });
}

// The whole way: TLS to the proxy, a tunnel, TLS to the origin in it. The first record of the
// origin may come in one record with the proxy's head.
TEST_P(HttpConnectSim, TlsToTheOriginGoesThroughTheTunnel) {
  sim::Pipe to_proxy(world_, kRough);
  sim::Pipe to_origin(world_, kRough);
  const auto copy = [](Transport& from, Stream& to) {
    std::array<std::byte, 3'000> buffer{};
    for (;;) {
      const IoResult io = from.try_read(buffer);
      if (io.kind == IoResult::Kind::kBytes) {
        to.write(std::span(buffer).first(io.bytes), kNever).value();
      } else if (io.kind != IoResult::Kind::kWouldBlock ||
                 from.wait(Interest::kRead, kNever) != Wake::kReady) {
        return (void)to.shutdown_write(kNever);
      }
    }
  };
  const auto copy_back = [](Stream& from, Transport& to) {
    std::array<std::byte, 3'000> buffer{};
    for (;;) {
      const std::size_t count = from.read(buffer, kNever).value();
      if (count == 0) return to.shutdown_write();
      auto rest = std::span<const std::byte>(buffer).first(count);
      while (!rest.empty()) {
        const IoResult io = to.try_write(rest);
        if (io.kind == IoResult::Kind::kFailed) return;
        rest = rest.subspan(io.bytes);
        if (io.kind == IoResult::Kind::kWouldBlock) (void)to.wait(Interest::kWrite, kNever);
      }
    }
  };
  world_.run([&] {
    auto proxy = test::server(server_context_, to_proxy.b());
    together({[&] {
                auto outer = test::client(client_context_, to_proxy.a());
                http_connect(outer, {.host = "origin.test", .port = 443}, kNever).value();
                auto stream = Stream::create(client_context_, StreamTransport(std::move(outer)),
                                             {.server_name = test::kServerName})
                                  .value();
                stream.write(bytes("through"), kNever).value();
                EXPECT_EQ(test::read_text(stream, 4, kNever), "back");
                EXPECT_EQ(test::read_text(stream, 1, kNever), "") << "the origin's close_notify";
                EXPECT_TRUE(stream.close(kNever));
              },
              [&] {
                std::string head;
                while (!head.ends_with("\r\n\r\n")) head += test::read_text(proxy, 1, kNever);
                proxy.write(bytes("HTTP/1.1 200 OK\r\n\r\n"), kNever).value();
                together({[&] { copy(to_origin.a(), proxy); },
                          [&] { copy_back(proxy, to_origin.a()); }});
                EXPECT_TRUE(proxy.close(kNever));
              },
              [&] {
                auto origin = test::server(server_context_, to_origin.b());
                EXPECT_EQ(test::read_text(origin, 7, kNever), "through");
                origin.write(bytes("back"), kNever).value();
                EXPECT_TRUE(origin.close(kNever));
              }});
  });
}

INSTANTIATE_TEST_SUITE_P(Seeds, HttpConnectSim, test::seeds(1, 17), test::kSeedName);

}  // namespace
}  // namespace heddle
