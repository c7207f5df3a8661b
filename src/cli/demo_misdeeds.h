// The ways in which the demo's bad peers misbehave.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "heddle/address.h"
#include "heddle/result.h"
#include "heddle/runtime.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/context.h"

namespace heddle::cli {

// Scene is what a misdeed needs: the victim's address and the means.
struct Scene {
  Runtime& runtime;
  Address server;
  std::string_view server_name;
  const Context& trusting;     // A client that accepts the server's certificate.
  const Context& distrusting;  // One that does not.
  const Identity& identity;    // The server's.
  const Identity& other_identity;
  std::span<const std::byte> client_hello;  // A valid one, to begin a handshake with.
};

// Misdeed is one way to misbehave. `commit` parks; whatever fails for it is part of the deed.
struct Misdeed {
  std::string_view name;
  void (*commit)(const Scene& scene);
};

std::span<const Misdeed> misdeeds();

// Returns the first bytes that a client of `context` sends. Called from a fiber.
std::vector<std::byte> capture_client_hello(const Context& context, std::string_view server_name);

}  // namespace heddle::cli
