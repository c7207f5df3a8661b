// Address: where a socket is bound or connected: IPv4, IPv6 or a Unix path.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "heddle/export.h"
#include "heddle/result.h"

struct sockaddr;  // NOLINT(readability-identifier-naming): POSIX's.

namespace heddle {

// Address is a value: copyable, comparable, no name resolution. The context of its errors is the
// text.
class HEDDLE_API Address {
 public:
  // Parses "127.0.0.1:443", "[::1]:443" or "unix:/path". Fails with kInvalid. A link-local address
  // has a zone, the name or number of an interface (RFC 4007): "[fe80::1%eth0]:443".
  static Result<Address> parse(std::string_view text);

  // From an IPv4 or IPv6 address without port, such as "::1" or "fe80::1%eth0". Fails with
  // kInvalid, also if there is no such interface.
  static Result<Address> from_ip(std::string_view ip, std::uint16_t port);

  // From a Unix path, at most 107 bytes. Fails with kInvalid.
  static Result<Address> from_unix_path(std::string_view path);

  // From what a system call filled in; `size` bytes are copied.
  // Precondition: AF_INET, AF_INET6 or AF_UNIX.
  static Address from_sockaddr(const sockaddr* from, std::size_t size);

  // Returns what parse() takes; "unix:" for a Unix socket without a name.
  std::string to_string() const;

  int family() const noexcept;          // AF_INET, AF_INET6 or AF_UNIX.
  std::uint16_t port() const noexcept;  // 0 for a Unix path.
  const sockaddr* data() const noexcept;
  unsigned size() const noexcept { return size_; }

  bool operator==(const Address& other) const noexcept;

 private:
  Address() = default;

  alignas(8) std::array<std::byte, 112> storage_{};  // Large enough for sockaddr_un.
  unsigned size_ = 0;
};

}  // namespace heddle
