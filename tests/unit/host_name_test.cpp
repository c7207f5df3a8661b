// What may be called a host.
#include "base/host_name.h"

#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace heddle {
namespace {

using namespace std::string_literals;

TEST(HostTest, NamesComeInOneForm) {
  for (const auto& [text, name] :
       {std::pair{"localhost"s, "localhost"s},
        {"Named.EXAMPLE.test", "named.example.test"},
        {"named.example.test.", "named.example.test"},
        {"xn--mnchen-3ya.test", "xn--mnchen-3ya.test"},
        {"foo_bar.test", "foo_bar.test"},
        {"-x.test", "-x.test"},
        {"1.2.3.x4", "1.2.3.x4"},
        {std::string(63, 'a') + ".test", std::string(63, 'a') + ".test"}}) {
    const auto host = Host::parse(text);
    ASSERT_TRUE(host) << text << ": " << host.error().message();
    EXPECT_EQ(host->name, name);
    EXPECT_FALSE(host->is_address());
    EXPECT_EQ(host->zone, "");
  }
}

TEST(HostTest, AddressesComeInOneForm) {
  struct Case {
    const char* text;
    const char* name;
    const char* zone;
    std::size_t bytes;
  };
  for (const Case& each : {Case{"127.0.0.1", "127.0.0.1", "", 4},
                           {"::1", "::1", "", 16},
                           {"FE80:0:0::5%lo", "fe80::5", "lo", 16},
                           {"fe80::5%1", "fe80::5", "1", 16},
                           {"::ffff:192.0.2.1", "::ffff:192.0.2.1", "", 16}}) {
    const auto host = Host::parse(each.text);
    ASSERT_TRUE(host) << each.text << ": " << host.error().message();
    EXPECT_EQ(host->name, each.name);
    EXPECT_EQ(host->zone, each.zone);
    EXPECT_EQ(host->bytes_of_address, each.bytes);
  }
}

TEST(HostTest, WhatIsNoHostIsRefused) {
  const std::string label(63, 'a');
  const std::string longest = label + '.' + label + '.' + label + '.' + std::string(61, 'a');
  EXPECT_TRUE(Host::parse(longest));
  EXPECT_TRUE(Host::parse(longest + '.'));
  for (const std::string& text : {""s,
                                  "."s,
                                  ".."s,
                                  ".a"s,
                                  "a.."s,
                                  "a..b"s,
                                  longest + 'a',
                                  label + "a.test",
                                  "localhost\0.evil.test"s,
                                  "127.0.0.1\0.evil.test"s,
                                  "a\0"s,
                                  "host:443"s,
                                  "127.0.0.1:1"s,
                                  "[::1]"s,
                                  "[::1"s,
                                  "::1]"s,
                                  "::1%"s,
                                  "::1%a/b"s,
                                  "127.0.0.1%lo"s,
                                  "a%lo"s,
                                  "a b"s,
                                  " a"s,
                                  "a\n"s,
                                  "a\r\nb"s,
                                  "a/b"s,
                                  "a\\b"s,
                                  "user@a"s,
                                  "*.test"s,
                                  "m\xc3\xbcnchen.test"s,
                                  "127.1"s,
                                  "127.0.0.256"s,
                                  "1"s,
                                  "2130706433"s,
                                  "0x7f000001"s,
                                  "0x7f.1"s,
                                  "a.0x1"s,
                                  "1.2.3.4."s,
                                  ":::"s}) {
    const auto host = Host::parse(text);
    ASSERT_FALSE(host) << text;
    EXPECT_EQ(host.error().code, Errc::kInvalid);
  }
}

TEST(HostTest, ErrorSaysHowToWriteIt) {
  EXPECT_STREQ(Host::parse("m\xc3\xbcnchen.test").error().detail,
               "not ASCII, write it in its xn-- form");
  EXPECT_STREQ(Host::parse("[::1]").error().detail, "an IPv6 address goes without brackets here");
  EXPECT_STREQ(Host::parse("host:443").error().detail, "no port belongs to it");
}

}  // namespace
}  // namespace heddle
