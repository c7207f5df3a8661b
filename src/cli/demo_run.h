// One run of the demo under one isolation policy.
#pragma once

#include <cstddef>

#include "heddle/deadline.h"
#include "heddle/isolation.h"
#include "heddle/result.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/context.h"

#include "cli/demo_progress.h"
#include "cli/demo_report.h"

namespace heddle::cli {

// What all runs have in common.
struct DemoPlan {
  std::size_t connections = 2000;
  Duration duration{};  // Of the part beside misbehaving peers, per policy.
  const Context& server;
  const Context& trusting_client;
  const Context& distrusting_client;
  const Identity& identity;        // The server's.
  const Identity& other_identity;  // Of nobody here.
};

// The host name that DemoPlan::identity must be for.
inline constexpr const char* kDemoHost = "demo.heddle.test";

// Descriptors that a run needs besides two per healthy connection: those of misbehaving peers, of
// epoll and of the standard streams.
inline constexpr std::size_t kDescriptorSlack = 128;

// Runs server, healthy clients and misbehaving peers on the calling thread, in a runtime of their
// own. Fails when they cannot even be set up: no port, no stacks.
Result<PolicyReport> run_policy(Isolation policy, const DemoPlan& plan, Progress& progress);

}  // namespace heddle::cli
