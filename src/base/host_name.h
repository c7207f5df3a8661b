// What may be called a host: the one place that judges it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "heddle/result.h"

namespace heddle {

// Host is a host name or an IP address, as a program or a user writes it.
//
// A name has labels of 1 to 63 letters, digits, hyphens and underscores, and 253 bytes at most; its
// last label has a letter, or it would look like an address (RFC 1123, section 2.1). A dot at its
// end, which makes it absolute for DNS, is no part of the name (RFC 6066, section 3). Names in
// other scripts are refused: which A-label they have depends on the version of IDNA (RFC 5891,
// UTS 46), and a wrong one is another host.
struct Host {
  // Fails with kInvalid and the reason. Not a host: brackets, a port, spaces, NUL.
  static Result<Host> parse(std::string_view text);

  bool is_address() const noexcept { return bytes_of_address != 0; }

  std::string name;  // In lower case, without the dot at the end. Addresses: as inet_ntop(3) does.
  std::string zone;  // Of an IPv6 address (RFC 4007): "eth0" in "fe80::1%eth0". Nobody else's.
  std::size_t bytes_of_address = 0;  // 4 or 16.
};

}  // namespace heddle
