// Parsing and printing socket addresses.
#include "heddle/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include <net/if.h>

#include "base/die.h"

namespace heddle {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

constexpr const char* kParse = "parse an address";
constexpr const char* kParseIp = "parse an IP address";
constexpr const char* kParsePath = "parse the path of a Unix socket";

// `text` is what was to be parsed.
Error invalid(std::string_view text, const char* operation, const char* detail) {
  return Error{.code = Errc::kInvalid, .operation = operation, .detail = detail}.with(text);
}

template <typename T>
T read_as(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <typename T>
Address make(const T& from, std::size_t size = sizeof(T)) {
  return Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&from), size);
}

// Of the interface with this name or number (RFC 4007, section 11.2). 0 if there is none.
std::uint32_t zone_index(std::string_view zone) {
  std::uint32_t number = 0;
  const auto parsed = std::from_chars(zone.data(), zone.data() + zone.size(), number);
  if (parsed.ec == std::errc() && parsed.ptr == zone.data() + zone.size()) return number;
  return ::if_nametoindex(std::string(zone).c_str());
}

std::string zone_name(std::uint32_t index) {
  std::array<char, IF_NAMESIZE> name{};
  return ::if_indextoname(index, name.data()) != nullptr ? name.data() : std::to_string(index);
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
  if (text.starts_with(kUnixPrefix)) return from_unix_path(text.substr(kUnixPrefix.size()));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return invalid(text, kParse, "expected IP:PORT, [IPV6]:PORT or unix:PATH");
  }
  std::string_view ip = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) {
    return invalid(text, kParse, "the port is not a number from 0 to 65535");
  }
  if (ip.starts_with('[') && ip.ends_with(']') && ip.find(':') != std::string_view::npos) {
    ip = ip.substr(1, ip.size() - 2);
  } else if (ip.find(':') != std::string_view::npos) {
    return invalid(text, kParse, "an IPv6 address needs brackets, as in [::1]:443");
  }
  return from_ip(ip, port);
}

Result<Address> Address::from_ip(std::string_view ip, std::uint16_t port) {
  constexpr const char* kExpected = "expected one such as 127.0.0.1, ::1 or fe80::1%eth0";
  // inet_pton() would stop at a NUL and take what is before it.
  if (ip.find('\0') != std::string_view::npos) return invalid(ip, kParseIp, kExpected);
  const std::size_t percent = ip.find('%');
  const std::string text(ip.substr(0, percent));
  if (sockaddr_in v4{};
      percent == std::string_view::npos && ::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    return make(v4);
  }
  if (sockaddr_in6 v6{}; ::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    if (percent != std::string_view::npos) {
      v6.sin6_scope_id = zone_index(ip.substr(percent + 1));
      if (v6.sin6_scope_id == 0) return invalid(ip, kParseIp, "no such zone here");
    }
    return make(v6);
  }
  return invalid(ip, kParseIp, kExpected);
}

Result<Address> Address::from_unix_path(std::string_view path) {
  sockaddr_un unix_address{};
  if (path.empty() || path.size() >= sizeof(unix_address.sun_path) ||
      path.find('\0') != std::string_view::npos) {
    return invalid(path, kParsePath, "it has 1 to 107 bytes, none of them NUL");
  }
  unix_address.sun_family = AF_UNIX;
  std::memcpy(unix_address.sun_path, path.data(), path.size());
  return make(unix_address, offsetof(sockaddr_un, sun_path) + path.size() + 1);
}

Address Address::from_sockaddr(const sockaddr* from, std::size_t size) {
  Address address;
  if (size < sizeof(sa_family_t) || size > address.storage_.size()) {
    die("Address::from_sockaddr() of %zu bytes: no address has that many", size);
  }
  std::memcpy(address.storage_.data(), from, size);
  address.size_ = static_cast<unsigned>(size);
  const int family = address.family();
  if (family != AF_INET && family != AF_INET6 && family != AF_UNIX) {
    die("Address::from_sockaddr() of family %d: it takes AF_INET, AF_INET6 and AF_UNIX", family);
  }
  return address;
}

std::string Address::to_string() const {
  std::array<char, INET6_ADDRSTRLEN> ip{};
  std::string text;
  switch (family()) {
    case AF_INET: {
      const auto v4 = read_as<sockaddr_in>(storage_.data());
      (void)::inet_ntop(AF_INET, &v4.sin_addr, ip.data(), ip.size());
      text.append(ip.data());
      break;
    }
    case AF_INET6: {
      const auto v6 = read_as<sockaddr_in6>(storage_.data());
      (void)::inet_ntop(AF_INET6, &v6.sin6_addr, ip.data(), ip.size());
      text.append("[").append(ip.data());
      if (v6.sin6_scope_id != 0) text.append("%").append(zone_name(v6.sin6_scope_id));
      text.append("]");
      break;
    }
    default: {
      const auto* path =
          reinterpret_cast<const char*>(storage_.data()) + offsetof(sockaddr_un, sun_path);
      text.append(kUnixPrefix);
      // Storage is longer than any path, and zeroed.
      if (size_ > sizeof(sa_family_t)) text.append(path);
      return text;
    }
  }
  return text.append(":").append(std::to_string(port()));
}

int Address::family() const noexcept {
  return read_as<sa_family_t>(storage_.data());
}

std::uint16_t Address::port() const noexcept {
  switch (family()) {
    case AF_INET:
      return ntohs(read_as<sockaddr_in>(storage_.data()).sin_port);
    case AF_INET6:
      return ntohs(read_as<sockaddr_in6>(storage_.data()).sin6_port);
    default:
      return 0;
  }
}

const sockaddr* Address::data() const noexcept {
  return reinterpret_cast<const sockaddr*>(storage_.data());
}

bool Address::operator==(const Address& other) const noexcept {
  return size_ == other.size_ && storage_ == other.storage_;
}

}  // namespace heddle
