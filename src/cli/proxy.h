// The HTTPS proxy that `heddle connect` may go through.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "heddle/deadline.h"
#include "heddle/result.h"
#include "heddle/runtime.h"
#include "heddle/tls/context.h"
#include "heddle/transport.h"

#include "cli/endpoint.h"

namespace heddle::cli {

struct Proxy {
  Endpoint endpoint;
  std::string credentials;  // "USER:PASSWORD", or empty.
};

// Takes "https://[USER:PASSWORD@]HOST:PORT". Returns nothing for anything else.
std::optional<Proxy> parse_proxy(std::string_view url);

// Connects to `proxy`, which must prove to be its host, and has it connect to `target`. Parks.
Result<std::unique_ptr<Transport>> open_tunnel(Runtime& runtime, const Proxy& proxy,
                                               const Context& context, const Endpoint& target,
                                               Deadline deadline);

}  // namespace heddle::cli
