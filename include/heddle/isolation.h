// Isolation: what a runtime does about OpenSSL's one error queue per thread.
#pragma once

#include <cstdint>

namespace heddle {

// OpenSSL keeps one error queue per OS thread, and SSL_get_error() believes its
// oldest entry before it looks at the connection (SSL_get_error(3)). So an entry
// that one fiber leaves behind can make OpenSSL call another fiber's healthy
// connection dead.
//
// kShared and kClear exist to show that, in the regression harness and in
// benchmarks. Programs want kIsolated.
enum class Isolation : std::uint8_t {
  kShared,    // The bug: nothing is done.
  kClear,     // Clears the queue before each TLS call, as proposed for CPython #148594.
  kIsolated,  // Each fiber has its own queue, and each TLS call starts with an empty one.
};

}  // namespace heddle
