// What `heddle connect` takes for an address.
#include <string>

#include <gtest/gtest.h>

#include "cli/endpoint.h"

namespace heddle::cli {
namespace {

TEST(EndpointTest, NameAndPortAreSplitAtTheLastColon) {
  const auto endpoint = parse_endpoint("example.org:443");
  ASSERT_TRUE(endpoint);
  EXPECT_EQ("example.org", endpoint->host);
  EXPECT_EQ(443, endpoint->port);
  EXPECT_EQ("", endpoint->unix_path);
}

TEST(EndpointTest, BracketsOfAnIpv6AddressAreNotPartOfTheHost) {
  const auto endpoint = parse_endpoint("[fe80::1]:8443");
  ASSERT_TRUE(endpoint);
  EXPECT_EQ("fe80::1", endpoint->host);
  EXPECT_EQ(8443, endpoint->port);
}

TEST(EndpointTest, UnixPathMayHoldColons) {
  const auto endpoint = parse_endpoint("unix:/tmp/a:1");
  ASSERT_TRUE(endpoint);
  EXPECT_EQ("/tmp/a:1", endpoint->unix_path);
  EXPECT_EQ("", endpoint->host);
}

TEST(EndpointTest, PrintsAsItWasTyped) {
  for (const char* text : {"localhost:1", "127.0.0.1:65535", "[::1]:443", "unix:relative/path"}) {
    const auto endpoint = parse_endpoint(text);
    ASSERT_TRUE(endpoint) << text;
    EXPECT_EQ(text, endpoint->to_string());
  }
}

TEST(EndpointTest, WhatIsNoEndpointIsRefused) {
  for (const char* text :
       {"", ":", "host", "host:", ":443", "host:0", "host:65536", "host:-1", "host:+1", "host:4x",
        "host: 443", "::1:443", "[::1]", "[::1]443", "[::1:443", "[]:443", "[host]:443", "unix:"}) {
    EXPECT_FALSE(parse_endpoint(text)) << '"' << text << '"';
  }
}

}  // namespace
}  // namespace heddle::cli
