// Endpoint: where a client connects to, as typed on a command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace heddle::cli {

// Endpoint is a host, not resolved yet, and a port; or the path of a Unix socket.
struct Endpoint {
  std::string host;  // A name or an IP address without brackets; empty for a Unix socket.
  std::uint16_t port = 0;
  std::string unix_path;  // Empty unless it is a Unix socket.

  // As it was typed, for messages.
  std::string to_string() const;
};

// Takes "HOST:PORT", "[V6ADDRESS]:PORT" or "unix:PATH". Returns nothing for anything else, such
// as a port that is no number from 1 to 65535 or a bare IPv6 address, which would be ambiguous.
std::optional<Endpoint> parse_endpoint(std::string_view text);

}  // namespace heddle::cli
