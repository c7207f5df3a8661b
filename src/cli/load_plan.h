// LoadPlan: what the load generator is to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "heddle/deadline.h"
#include "heddle/tls/context.h"

#include "cli/endpoint.h"
#include "cli/load_answer.h"

namespace heddle::cli {

enum class LoadHandshakes : std::uint8_t {
  kKept,     // One for each connection, which then carries request after request.
  kFull,     // A connection and a full handshake for each request.
  kResumed,  // The same, with the session of the connection before.
};

struct LoadPlan {
  Endpoint endpoint;
  std::string server_name;
  const Context& context;
  LoadHandshakes handshakes = LoadHandshakes::kKept;
  std::size_t threads = 1;
  std::size_t connections = 1;  // Of all threads together, and so are the next three.
  std::size_t idle = 0;         // More, on which nothing happens once they are open.
  std::uint64_t requests = 0;   // 0: as many as fit into `duration`.
  double rate = 0;              // Requests per second. 0: each as soon as the one before is done.
  Duration duration{};
  Duration timeout{};    // For each unit.
  std::string head;      // Of the request.
  std::string block;     // The body, or what it is a repetition of.
  std::size_t body = 0;  // Bytes.
  LoadAnswer::Body answers = LoadAnswer::Body::kAsTold;
};

}  // namespace heddle::cli
