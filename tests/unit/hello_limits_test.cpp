// Hellos that a server refuses before OpenSSL works on them.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/ssl_object_pair.h"
#include "support/tls_pair.h"

namespace heddle {
namespace {

std::string number(std::size_t value, int bytes) {
  std::string text;
  while (bytes-- > 0) text += static_cast<char>(value >> 8 * bytes & 0xff);
  return text;
}

std::string counted(const std::string& content, int bytes) {
  return number(content.size(), bytes) + content;
}

std::string extension(unsigned type, const std::string& content) {
  return number(type, 2) + counted(content, 2);
}

constexpr std::size_t kX25519 = 0x001d;
constexpr std::size_t kUnknown = 0x4000;

// Hello is a ClientHello of TLS 1.3 (RFC 8446, section 4.1.2).
struct Hello {
  std::size_t groups = 1;  // Unknown ones, and then X25519.
  std::size_t shares = 1;  // Of the first, and then, if `has_share`, one of X25519.
  bool has_share = true;
  std::string name = test::kServerName;

  std::string records() const {
    std::string all_groups;
    for (std::size_t i = 1; i < groups; ++i) all_groups += number(kUnknown + i, 2);
    std::string all_shares;
    for (std::size_t i = has_share ? 1 : 0; i < shares; ++i) {
      all_shares += number(kUnknown + 1, 2) + counted("x", 2);
    }
    if (has_share) all_shares += number(kX25519, 2) + counted(std::string(32, 'k'), 2);
    const std::string extensions =
        extension(0, counted(number(0, 1) + counted(name, 2), 2)) +
        extension(10, counted(all_groups + number(kX25519, 2), 2)) +
        extension(13, counted(number(0x0807, 2) + number(0x0403, 2), 2)) +
        extension(43, counted(number(0x0304, 2), 1)) + extension(51, counted(all_shares, 2));
    const std::string body = number(0x0303, 2) + std::string(32, 'r') + counted("", 1) +
                             counted(number(0x1301, 2), 2) + counted(number(0, 1), 1) +
                             counted(extensions, 2);
    std::string message = number(1, 1) + counted(body, 3);
    std::string records;
    for (; !message.empty(); message.erase(0, 16384)) {
      records += number(22, 1) + number(0x0301, 2) + counted(message.substr(0, 16384), 2);
    }
    return records;
  }
};

class HelloLimits : public testing::Test {
 protected:
  HelloLimits() { server_.open(context_, ""); }

  Result<Progress> say(const Hello& hello) {
    server_.incoming.write(test::bytes(hello.records())).value();
    return server_.tls->handshake();
  }
  // The type of the last record that the server has sent, and an alert's number.
  int alert() const {
    const auto sent = server_.outgoing.readable();
    if (sent.size() < 7 || static_cast<int>(sent[sent.size() - 7]) != 21) return -1;
    return static_cast<int>(sent.back());
  }
  void expect_refused(const Hello& hello, int with) {
    const auto refused = say(hello);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kProtocol) << refused.error().message();
    EXPECT_EQ(alert(), with) << refused.error().message();
  }

  Context context_ = test::server_context();
  test::End server_;
};

constexpr int kIllegalParameter = 47;
constexpr int kUnrecognizedName = 112;

TEST_F(HelloLimits, AsManyGroupsAsThereAreAreFine) {
  const auto going_on = say({.groups = 128, .shares = 128});
  EXPECT_TRUE(going_on) << going_on.error().message();
}

TEST_F(HelloLimits, MoreGroupsAreRefused) {
  expect_refused({.groups = 129}, kIllegalParameter);
}

TEST_F(HelloLimits, MoreKeySharesAreRefused) {
  expect_refused({.groups = 128, .shares = 129}, kIllegalParameter);
}

TEST_F(HelloLimits, SecondHelloIsBoundedToo) {
  ASSERT_TRUE(say({.groups = 2, .shares = 1, .has_share = false})) << "a HelloRetryRequest";
  EXPECT_EQ(alert(), -1);
  expect_refused({.groups = 129}, kIllegalParameter);
}

TEST_F(HelloLimits, SecondHelloOfAChoiceIsBoundedToo) {
  context_.on_client_hello([this](const ClientHello&) { return HelloAnswer::use(context_); });
  test::End fresh;
  std::swap(server_.tls, fresh.tls);
  server_.open(context_, "");
  ASSERT_TRUE(say({.groups = 2, .shares = 1, .has_share = false})) << "a HelloRetryRequest";
  expect_refused({.groups = 2, .shares = 129}, kIllegalParameter);
}

TEST_F(HelloLimits, NameWithOtherBytesReachesNoCallback) {
  std::vector<std::string> seen;
  context_.on_server_name([&](const ClientHello& hello) {
    seen.emplace_back(hello.server_name());
    return HelloAnswer::go_on();
  });
  for (const char* const name : {"a/../../etc/passwd", "a\\b", "a b", "127.0.0.1:1",
                                 "a\x01"
                                 "b",
                                 "a\nb", "m\xc3\xbcnchen.test", "[::1]", "*.test"}) {
    test::End end;
    end.open(context_, "");
    std::swap(server_.tls, end.tls);
    server_.incoming.consume(server_.incoming.pending());
    server_.outgoing.consume(server_.outgoing.pending());
    server_.open(context_, "");
    expect_refused({.name = name}, kUnrecognizedName);
  }
  EXPECT_TRUE(seen.empty());
  server_.outgoing.consume(server_.outgoing.pending());
  server_.open(context_, "");
  EXPECT_TRUE(say({.name = "Foo_bar-1.Test."}));
  EXPECT_EQ(seen, std::vector<std::string>{"Foo_bar-1.Test."});
}

}  // namespace
}  // namespace heddle
