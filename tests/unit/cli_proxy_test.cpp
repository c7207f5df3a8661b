// What `heddle connect` takes for a proxy, and what it shows of a command line with credentials.
#include <string>

#include <gtest/gtest.h>

#include "cli/proxy.h"

namespace heddle::cli {
namespace {

std::string credentials_of(const std::string& userinfo) {
  const auto proxy = parse_proxy("https://" + userinfo + "@proxy.test:8443");
  if (!proxy) return "refused";
  EXPECT_EQ(proxy->endpoint.host, "proxy.test");
  EXPECT_EQ(proxy->endpoint.port, 8443);
  return proxy->credentials;
}

TEST(ProxyUrlTest, UserAndPasswordArePercentDecoded) {
  EXPECT_EQ(credentials_of("user%40corp:p%40ss%3Aw%2Ford"), "user@corp:p@ss:w/ord");
  EXPECT_EQ(credentials_of("u:100%25"), "u:100%");
  EXPECT_EQ(credentials_of("u:%2540"), "u:%40");  // Once.
  EXPECT_EQ(credentials_of("m%C3%bc:%E2%82%AC"), "m\u00fc:\u20ac");
  EXPECT_EQ(credentials_of("u:a+b"), "u:a+b");  // No form: a plus is a plus.
  EXPECT_EQ(credentials_of("u:%20"), "u: ");
}

TEST(ProxyUrlTest, RawColonsAndAtSignsBelongToThePassword) {
  EXPECT_EQ(credentials_of("user:a:b"), "user:a:b");
  EXPECT_EQ(credentials_of("user:a@b"), "user:a@b");
  EXPECT_EQ(credentials_of("us@er:b"), "us@er:b");
  EXPECT_EQ(credentials_of("user:"), "user:");
}

TEST(ProxyUrlTest, MalformedEscapesAreRefused) {
  for (const char* const bad :
       {"u:%", "u:%4", "u:%zz", "u:%4z", "u:%z4", "u:% 4", "u:%+4", "%:p", "u:%%4", "u:a%2"}) {
    EXPECT_EQ(credentials_of(bad), "refused") << bad;
  }
}

TEST(ProxyUrlTest, EscapedControlCharactersAreRefused) {
  for (const char* const bad : {"u:%00", "u:a%0d%0aX-Evil: 1", "%1F:p", "u:%7f"}) {
    EXPECT_EQ(credentials_of(bad), "refused") << bad;
  }
  EXPECT_EQ(credentials_of("u:\r\n"), "refused");
}

TEST(ProxyUrlTest, ColonInAUserNameIsRefused) {
  EXPECT_EQ(credentials_of("us%3Aer:p"), "refused");
  EXPECT_EQ(credentials_of("user"), "refused");
}

TEST(ProxyUrlTest, WhatEndsAHostIsRefusedInCredentials) {
  EXPECT_EQ(credentials_of("u:p/w"), "refused");
  EXPECT_EQ(credentials_of("u:p?w"), "refused");
  EXPECT_EQ(credentials_of("u:p#w"), "refused");
  EXPECT_FALSE(parse_proxy("https://proxy.test:443/@evil.test:443"));
}

TEST(ProxyUrlTest, Ipv6HostHasBrackets) {
  const auto proxy = parse_proxy("https://u%3a:p@[2001:db8::1]:443");
  EXPECT_FALSE(proxy);
  const auto good = parse_proxy("https://u:p%5d@[2001:db8::1]:443/");
  ASSERT_TRUE(good);
  EXPECT_EQ(good->endpoint.host, "2001:db8::1");
  EXPECT_EQ(good->credentials, "u:p]");
  EXPECT_FALSE(parse_proxy("https://u:p@2001:db8::1:443"));
}

TEST(ProxyUrlTest, MessagesAreWithoutCredentials) {
  EXPECT_EQ(without_credentials("https://u:p@h:1"), "https://...@h:1");
  EXPECT_EQ(without_credentials("u:p@h:1"), "...@h:1");
  EXPECT_EQ(without_credentials("https://u:p@x@h:1"), "https://...@h:1");
  EXPECT_EQ(without_credentials("u:p://@h:1"), "u:p://...@h:1");
  EXPECT_EQ(without_credentials("not expected: https://u:p@h:1 --cafile x"),
            "not expected: https://...@h:1 --cafile x");
  EXPECT_EQ(without_credentials("a  b\n"), "a  b\n");
  EXPECT_EQ(without_credentials(""), "");
}

}  // namespace
}  // namespace heddle::cli
