// The options of commands that are TLS clients: whom to trust, which versions, our own certificate.
#pragma once

#include <optional>
#include <string>

#include "heddle/error.h"
#include "heddle/tls/context.h"

#include "cli/command_line.h"

namespace heddle::cli {

struct ClientOptions {
  std::string ca_path;
  std::string server_name;
  std::string cert_path;
  std::string key_path;
  bool insecure = false;
  bool no_strict = false;
  bool tls12 = false;
  bool tls13 = false;
};

// Adds them to `command`. `options` must stay valid until the command line has been parsed.
void add_client_options(const Command& command, ClientOptions& options);

// What of the command line cannot be used, and why.
struct Unusable {
  std::string what;
  Error error;
};

// Makes `context` what the options say. Returns what it cannot be.
std::optional<Unusable> configure_client(Context& context, const ClientOptions& options);

// A context that trusts whom the options say, or why there is none.
Result<Context> make_client_context(const ClientOptions& options);

}  // namespace heddle::cli
