// heddle demo: the same load under the three isolation policies, to see what each is good for.
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/core.h>
#include <unistd.h>

#include "heddle/isolation.h"
#include "heddle/tls/certificate.h"
#include "heddle/tls/context.h"

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/demo_progress.h"
#include "cli/demo_report.h"
#include "cli/demo_run.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kCommand = "demo";

struct DemoOptions {
  std::size_t connections = 2000;
  double seconds = 4;
  bool json = false;
};

// DemoCredentials are made anew for each demo; nothing is read from or left on disk.
struct DemoCredentials {
  Identity identity;
  Identity other_identity;
  Context server;
  Context trusting_client;
  Context distrusting_client;
};

Result<DemoCredentials> make_credentials() {
  Result<Identity> identity = make_self_signed({kDemoHost});
  if (!identity) return identity.error();
  Result<Identity> other = make_self_signed({kDemoHost});
  if (!other) return other.error();
  Result<Context> server = Context::create(Role::kServer);
  if (!server) return server.error();
  Result<Context> trusting = Context::create(Role::kClient, Trust::kNothing);
  if (!trusting) return trusting.error();
  Result<Context> distrusting = Context::create(Role::kClient, Trust::kNothing);
  if (!distrusting) return distrusting.error();

  const auto used = server->use_cert_chain(identity->certificate_pem, identity->key_pem);
  if (!used) return used.error();
  const auto pem = std::as_bytes(std::span(identity->certificate_pem));
  if (const auto added = trusting->add_trusted_certificates(pem); !added) return added.error();
  return DemoCredentials{.identity = *std::move(identity),
                         .other_identity = *std::move(other),
                         .server = *std::move(server),
                         .trusting_client = *std::move(trusting),
                         .distrusting_client = *std::move(distrusting)};
}

// Returns what is in the way of that many connections, if anything.
std::optional<std::string> does_not_fit(std::size_t connections) {
  const std::size_t descriptors = raise_descriptor_limit();
  const std::size_t descriptors_needed = 2 * connections + kDescriptorSlack;
  if (descriptors_needed > descriptors) {
    return fmt::format(
        "they need {} descriptors and {} are allowed; pass fewer, or raise the hard "
        "limit (ulimit -Hn)",
        descriptors_needed, descriptors);
  }
  std::size_t mappings = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> mappings;
  const std::size_t mappings_needed = 4 * connections + 1024;  // Two stacks with guard pages each.
  if (mappings != 0 && mappings_needed > mappings) {
    return fmt::format(
        "their stacks need {} memory mappings and {} are allowed; pass fewer, or "
        "raise vm.max_map_count (sysctl)",
        mappings_needed, mappings);
  }
  return std::nullopt;
}

int show(std::span<const PolicyReport> reports, const DemoOptions& options) {
  const Verdict verdict = judge(reports);
  const Colour colour = wants_colour(STDOUT_FILENO) ? Colour::kYes : Colour::kNo;
  const std::string text =
      options.json ? as_json(reports, verdict) : as_table(reports, verdict, colour);
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    const int sys_errno = errno;
    if (sys_errno != EPIPE) {  // As in `demo | head`.
      print_error(kCommand,
                  fmt::format("standard output: {}", std::generic_category().message(sys_errno)));
      return kExitFailure;
    }
  }
  return verdict.as_expected ? kExitOk : kExitFailure;
}

int run_demo(const DemoOptions& options) {
  if (const auto obstacle = does_not_fit(options.connections)) {
    print_error(kCommand, fmt::format("{} connections: {}", options.connections, *obstacle));
    return kExitUsage;
  }
  const Result<DemoCredentials> credentials = make_credentials();
  if (!credentials) {
    print_error(kCommand, "certificates: " + credentials.error().message());
    return kExitFailure;
  }
  const std::chrono::duration<double> seconds(options.seconds);
  const DemoPlan plan{.connections = options.connections,
                      .duration = std::chrono::duration_cast<Duration>(seconds),
                      .server = credentials->server,
                      .trusting_client = credentials->trusting_client,
                      .distrusting_client = credentials->distrusting_client,
                      .identity = credentials->identity,
                      .other_identity = credentials->other_identity};
  std::vector<PolicyReport> reports;
  Progress progress;
  for (const Isolation policy : kIsolations) {
    const Result<PolicyReport> report = run_policy(policy, plan, progress);
    if (!report) {
      progress.finish();
      print_error(kCommand, fmt::format("{}: {}", name_of(policy), report.error().message()));
      return kExitFailure;
    }
    reports.push_back(*report);
  }
  progress.finish();
  return show(reports, options);
}

}  // namespace

void add_demo(Command& app, std::function<int()>& action) {
  const auto options = std::make_shared<DemoOptions>();
  const Command command = app.add_subcommand(
      "demo", "Show what misbehaving peers do to healthy connections under each isolation policy.");
  command.footer(
      "Server and clients run on one thread: healthy connections, and peers that misbehave in "
      "every\n"
      "way known to leave something in OpenSSL's error queue. It succeeds if `isolated` keeps "
      "every\n"
      "healthy connection and `shared`, which shows the fault, does not.\n\n" +
      app.get_footer());
  command.add_option("--connections", options->connections, "Healthy connections")
      ->range(std::size_t{10}, std::size_t{1'000'000})
      ->capture_default_str();
  command.add_option("--seconds", options->seconds, "How long peers misbehave, per policy")
      ->range(0.1, 3600.0)
      ->capture_default_str();
  command.add_flag("--json", options->json, "Print the figures as JSON");
  command.callback([options, &action] { action = [options] { return run_demo(*options); }; });
}

}  // namespace heddle::cli
