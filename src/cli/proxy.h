// The HTTPS proxy that `heddle connect` may go through.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/runtime.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/context.h"
#include "heddle/transport.h"

#include "cli/endpoint.h"

namespace heddle::cli {

struct Proxy {
  Endpoint endpoint;
  std::string credentials;  // "USER:PASSWORD", or empty.
};

// Takes "https://[USER:PASSWORD@]HOST:PORT". USER and PASSWORD are percent-decoded (RFC 3986,
// section 2.1), as curl and Python do. Returns nothing for anything else: a malformed escape, one
// for a control character or, in USER, a colon, which Basic cannot carry (RFC 7617, section 2), or
// a raw '/', '?' or '#' in them, which ends the host (RFC 3986, section 3.2). Whoever reports that
// must not print `url`.
std::optional<Proxy> parse_proxy(std::string_view url);

// `text` without what may be user and password in URLs: "https://...@host:1" for
// "https://u:p@host:1", and likewise without a scheme. For messages about a command line.
std::string without_credentials(std::string_view text);

struct Tunnel {
  Result<std::unique_ptr<Transport>> transport;
  bool reached = false;  // TLS to the proxy began, at least.
  // If it failed after that:
  std::string message{};                    // What the connection knows of it: Stream::explain().
  std::vector<Certificate> certificates{};  // Of the proxy, if they did not verify.
};

// Connects to `proxy`, which must prove to be its host, and has it connect to `target`. Parks.
Tunnel open_tunnel(Runtime& runtime, const Proxy& proxy, const Context& context,
                   const Endpoint& target, Deadline deadline);

}  // namespace heddle::cli
