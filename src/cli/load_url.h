// LoadUrl: what a load generator is pointed at, as typed on its command line.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cli/endpoint.h"

namespace heddle::cli {

struct LoadUrl {
  Endpoint endpoint;
  std::string host;    // The value of the Host field.
  std::string target;  // Path and query.
};

// Takes https://HOST[:PORT][/PATH], the same without "https://" but with a port, and unix:PATH.
// Returns nothing for anything else, such as http:// or a target with spaces in it.
std::optional<LoadUrl> parse_load_url(std::string_view text);

}  // namespace heddle::cli
