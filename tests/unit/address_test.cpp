// Addresses as text and as the kernel's structures.
#include "heddle/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <string>

#include <gtest/gtest.h>
#include <net/if.h>

namespace heddle {
namespace {

using std::string_literals::operator""s;

TEST(AddressTest, ParsesWhatItPrints) {
  for (const char* const text : {"127.0.0.1:443", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:443",
                                 "[::]:0", "[2001:db8::ff]:65535", "[::ffff:192.0.2.1]:80",
                                 "unix:/run/heddle.sock", "unix:relative", "unix:with:colon:80"}) {
    const auto parsed = Address::parse(text);
    ASSERT_TRUE(parsed) << text << ": " << parsed.error().message();
    EXPECT_EQ(parsed->to_string(), text);
    EXPECT_EQ(*Address::parse(parsed->to_string()), *parsed);
  }
}

TEST(AddressTest, PrintsIpv6InItsShortForm) {
  EXPECT_EQ(Address::parse("[2001:0DB8:0:0:0:0:0:00ff]:0443").value().to_string(),
            "[2001:db8::ff]:443");
}

TEST(AddressTest, RefusesWhatIsNoAddress) {
  for (const std::string& text : {""s,
                                  ":"s,
                                  "127.0.0.1"s,
                                  "127.0.0.1:"s,
                                  ":443"s,
                                  "127.0.0.1:65536"s,
                                  "127.0.0.1:-1"s,
                                  "127.0.0.1:+1"s,
                                  "127.0.0.1: 1"s,
                                  "127.0.0.1:1 "s,
                                  "127.0.0.1:0x50"s,
                                  "127.0.0.1:http"s,
                                  "127.0.0.1:4294967297"s,
                                  "127.0.0.256:1"s,
                                  "127.1:1"s,
                                  "127.0.0.01:1"s,
                                  " 127.0.0.1:1"s,
                                  "localhost:443"s,
                                  "::1:443"s,
                                  "::1"s,
                                  "[::1]"s,
                                  "[::1]443"s,
                                  "[::1:443"s,
                                  "::1]:443"s,
                                  "[]:443"s,
                                  "[:::1]:443"s,
                                  "[::1%]:443"s,
                                  "[::1%no such interface]:443"s,
                                  "127.0.0.1%lo:443"s,
                                  "[[::1]]:443"s,
                                  "unix:"s,
                                  "Unix:/x"s}) {
    const auto parsed = Address::parse(text);
    ASSERT_FALSE(parsed) << '"' << text << '"';
    EXPECT_EQ(parsed.error().code, Errc::kInvalid);
  }
}

// A system call would stop reading at the NUL, and mean another address or path.
TEST(AddressTest, RefusesTextWithANulByte) {
  EXPECT_FALSE(Address::parse("127.0.0.1\0:443"s));
  EXPECT_FALSE(Address::parse("[::1\0]:443"s));
  EXPECT_FALSE(Address::from_ip("127.0.0.1\0.evil.example"s, 443));
  EXPECT_FALSE(Address::from_unix_path("/run/a\0b"s));
  EXPECT_FALSE(Address::from_unix_path("\0abstract"s));
}

TEST(AddressTest, LinkLocalAddressKeepsItsZone) {
  const std::uint32_t index = ::if_nametoindex("lo");
  ASSERT_NE(index, 0U);
  const Address named = Address::parse("[fe80::5%lo]:1").value();
  EXPECT_EQ(reinterpret_cast<const sockaddr_in6*>(named.data())->sin6_scope_id, index);
  EXPECT_EQ(named.to_string(), "[fe80::5%lo]:1");
  EXPECT_EQ(Address::from_ip("fe80::5%" + std::to_string(index), 1).value(), named);
  EXPECT_FALSE(Address::from_ip("fe80::5", 1).value() == named);
  EXPECT_EQ(Address::parse("[fe80::5%4000000000]:1").value().to_string(), "[fe80::5%4000000000]:1");
}

TEST(AddressTest, BracketsAreForIpv6) {
  EXPECT_FALSE(Address::parse("[127.0.0.1]:443"));
}

TEST(AddressTest, FromIpTakesBothFamiliesAndNoNames) {
  const auto v4 = Address::from_ip("192.0.2.7", 80);
  ASSERT_TRUE(v4) << v4.error().message();
  EXPECT_EQ(v4->family(), AF_INET);
  EXPECT_EQ(v4->port(), 80);
  EXPECT_EQ(v4->size(), sizeof(sockaddr_in));
  const auto v6 = Address::from_ip("2001:db8::1", 81);
  ASSERT_TRUE(v6) << v6.error().message();
  EXPECT_EQ(v6->family(), AF_INET6);
  EXPECT_EQ(v6->port(), 81);
  EXPECT_EQ(v6->size(), sizeof(sockaddr_in6));
  for (const char* const text : {"", "localhost", "[::1]", "1.2.3", "1.2.3.4:5"}) {
    EXPECT_EQ(Address::from_ip(text, 1).error().code, Errc::kInvalid) << text;
  }
}

TEST(AddressTest, UnixPathHasOneTo107Bytes) {
  const std::string longest(107, 'x');
  const auto address = Address::from_unix_path(longest);
  ASSERT_TRUE(address) << address.error().message();
  EXPECT_EQ(address->to_string(), "unix:" + longest);
  EXPECT_EQ(address->family(), AF_UNIX);
  EXPECT_EQ(address->port(), 0);
  EXPECT_EQ(Address::from_unix_path(longest + "x").error().code, Errc::kInvalid);
  EXPECT_EQ(Address::from_unix_path("").error().code, Errc::kInvalid);
}

TEST(AddressTest, ErrorNamesWhatWasToBeParsedAndWhatIsExpected) {
  const Error no_port = Address::parse("nowhere\n").error();
  EXPECT_EQ(no_port.context(), "nowhere\\0A");
  EXPECT_STREQ(no_port.operation, "parse an address");
  EXPECT_STREQ(no_port.detail, "expected IP:PORT, [IPV6]:PORT or unix:PATH");
  EXPECT_EQ(Address::parse("127.0.0.1:http").error().context(), "127.0.0.1:http");
  EXPECT_EQ(Address::parse("::1:443").error().context(), "::1:443");
  EXPECT_EQ(Address::from_ip("1.2.3", 1).error().context(), "1.2.3");
  EXPECT_EQ(Address::from_ip("fe80::1%no", 1).error().context(), "fe80::1%no");
  const std::string too_long(108, 'x');
  EXPECT_EQ(Address::from_unix_path(too_long).error().context(), too_long);
}

TEST(AddressTest, TakesWhatTheKernelFillsIn) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(443);
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const Address address =
      Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4));
  EXPECT_EQ(address, Address::parse("127.0.0.1:443").value());
  EXPECT_EQ(std::memcmp(address.data(), &v4, sizeof(v4)), 0);

  sockaddr_un nameless{};
  nameless.sun_family = AF_UNIX;
  EXPECT_EQ(
      Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&nameless), sizeof(sa_family_t))
          .to_string(),
      "unix:");
}

TEST(AddressTest, DiffersInAddressPortOrFamily) {
  const Address one = Address::parse("127.0.0.1:443").value();
  for (const char* const other :
       {"127.0.0.2:443", "127.0.0.1:444", "[::ffff:127.0.0.1]:443", "unix:127.0.0.1"}) {
    EXPECT_NE(Address::parse(other).value(), one) << other;
  }
}

TEST(AddressDeathTest, OtherFamiliesAbort) {
  sockaddr other{};
  other.sa_family = AF_PACKET;
  EXPECT_DEATH((void)Address::from_sockaddr(&other, sizeof(other)), "it takes AF_INET");
}

}  // namespace
}  // namespace heddle
