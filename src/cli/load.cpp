// heddle load: a TLS load generator. Here: its command line, and the request that it sends.
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include "heddle/tls/context.h"
#include "heddle/version.h"

#include "cli/client_options.h"
#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/demo_progress.h"
#include "cli/key_log.h"
#include "cli/load_plan.h"
#include "cli/load_report.h"
#include "cli/load_run.h"
#include "cli/load_url.h"
#include "cli/process.h"
#include "http/text.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kCommand = "load";
constexpr std::string_view kProtocol = "http/1.1";

// For the epoll instance, the standard streams, files, and what a library opens.
constexpr std::size_t kDescriptorSlack = 64;
constexpr std::size_t kBlockBytes = std::size_t{64} * 1024;
constexpr std::size_t kUploadMax = std::size_t{16} * 1024 * 1024 * 1024;

struct LoadArguments {
  std::string url;
  ClientOptions client;
  std::size_t connections = 64;
  std::size_t idle = 0;
  std::size_t threads = 1;
  std::size_t requests = 0;
  std::size_t upload = 0;
  double seconds = 10;
  double timeout_seconds = 10;
  double rate = 0;
  std::string handshakes;
  std::string method;
  std::string suites12;
  std::string suites13;
  std::vector<std::string> fields;
  bool json = false;
  bool quiet = false;
};

int refuse(std::string_view message) {
  print_error(kCommand, message);
  return kExitUsage;
}

Duration to_duration(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

// --- The request ---------------------------------------------------------------------------------

// "Name: value", of which a request can be made without a second one in it.
bool is_field(std::string_view text) {
  const std::size_t colon = text.find(':');
  return colon != std::string_view::npos && http::is_token(text.substr(0, colon)) &&
         std::all_of(text.begin(), text.end(), http::is_line_char);
}

bool names(std::string_view field, std::string_view lower) {
  return http::equals_ignoring_case(field.substr(0, field.find(':')), lower);
}

std::string method_of(const LoadArguments& options) {
  if (!options.method.empty()) return options.method;
  return options.upload > 0 ? "POST" : "GET";
}

std::string make_head(const LoadArguments& options, const LoadUrl& url) {
  std::string head = fmt::format("{} {} HTTP/1.1\r\n", method_of(options), url.target);
  const bool has_host = std::any_of(options.fields.begin(), options.fields.end(),
                                    [](const auto& field) { return names(field, "host"); });
  if (!has_host) head.append("Host: ").append(url.host).append("\r\n");
  head.append("User-Agent: heddle-load/" HEDDLE_VERSION_STRING "\r\n");
  for (const std::string& field : options.fields) head.append(field).append("\r\n");
  if (options.upload > 0) head.append(fmt::format("Content-Length: {}\r\n", options.upload));
  // So that the server ends first: it is on our side that ports could run out.
  if (!options.handshakes.empty()) head.append("Connection: close\r\n");
  return head.append("\r\n");
}

// What of the request cannot be sent, in one line; or nothing.
std::optional<std::string> unusable_request(const LoadArguments& options) {
  for (const std::string& field : options.fields) {
    if (!is_field(field)) return "--header " + field + ": write NAME: VALUE, in one line";
    if (names(field, "content-length") || names(field, "transfer-encoding")) {
      return "--header " + field + ": --upload says how long the body is";
    }
  }
  if (!http::is_token(method_of(options))) return "--method: not a method of HTTP";
  return std::nullopt;
}

// --- The plan ------------------------------------------------------------------------------------

LoadHandshakes handshakes_of(const std::string& word) {
  if (word.empty()) return LoadHandshakes::kKept;
  return word == "full" ? LoadHandshakes::kFull : LoadHandshakes::kResumed;
}

LoadPlan make_plan(const LoadArguments& options, const LoadUrl& url, const Context& context) {
  const std::string& name = options.client.server_name;
  return {.endpoint = url.endpoint,
          .server_name = name.empty() ? url.endpoint.host : name,
          .context = context,
          .handshakes = handshakes_of(options.handshakes),
          .threads = options.threads,
          .connections = options.connections,
          .idle = options.idle,
          .requests = options.requests,
          .rate = options.rate,
          .duration = to_duration(options.seconds),
          .timeout = to_duration(options.timeout_seconds),
          .head = make_head(options, url),
          .block = std::string(std::min(options.upload, kBlockBytes), 'x'),
          .body = options.upload,
          .answers =
              method_of(options) == "HEAD" ? LoadAnswer::Body::kNone : LoadAnswer::Body::kAsTold};
}

std::optional<std::string> does_not_fit(const LoadArguments& options) {
  if (options.threads > options.connections) {
    return fmt::format("--threads {} is more than --connections {}", options.threads,
                       options.connections);
  }
  if (options.requests != 0 && options.requests < options.threads) {
    return fmt::format("--requests {} is less than --threads {}", options.requests,
                       options.threads);
  }
  const std::size_t descriptors = raise_descriptor_limit();
  const std::size_t needed = options.connections + options.idle + kDescriptorSlack;
  if (needed > descriptors) {
    return fmt::format(
        "{} connections need {} descriptors and {} are allowed; pass fewer, or raise the hard "
        "limit (ulimit -Hn)",
        options.connections + options.idle, needed, descriptors);
  }
  return std::nullopt;
}

int load(const LoadArguments& options, const LoadUrl& url, const Context& context) {
  Progress progress;
  const LoadPlan plan = make_plan(options, url, context);
  const Result<LoadTally> tally = run_load(plan, options.quiet ? nullptr : &progress);
  if (!tally) {
    print_error(kCommand, tally.error().message());
    return kExitFailure;
  }
  const std::string text = options.json ? load_as_json(plan, *tally) : load_as_text(plan, *tally);
  if (const int status = print_out(kCommand, text); status != kExitOk) return status;
  if (tally->succeeded() > 0) return kExitOk;
  print_error(kCommand, tally->failures.empty() ? "no request was answered with success"
                                                : tally->failures.front().kind() + ": " +
                                                      tally->failures.front().example);
  return kExitFailure;
}

// What of the command line the context cannot be.
std::optional<Unusable> configure(Context& context, const LoadArguments& options) {
  if (auto unusable = configure_client(context, options.client)) return unusable;
  if (const auto set = context.set_alpn_protocols(std::span(&kProtocol, 1)); !set) {
    return Unusable{.what = "ALPN", .error = set.error()};
  }
  if (!options.suites12.empty()) {
    const Result<void> set = context.set_ciphers(options.suites12);
    if (!set) return Unusable{.what = "--ciphers", .error = set.error()};
  }
  if (!options.suites13.empty()) {
    const Result<void> set = context.set_ciphersuites(options.suites13);
    if (!set) return Unusable{.what = "--ciphersuites", .error = set.error()};
  }
  return std::nullopt;
}

int run(const LoadArguments& options) {
  const std::optional<LoadUrl> url = parse_load_url(options.url);
  if (!url) {
    return refuse(
        "give https://HOST[:PORT][/PATH], HOST:PORT[/PATH] or unix:PATH, and spaces and "
        "letters that are not ASCII percent-encoded");
  }
  if (url->endpoint.host.empty() && options.client.server_name.empty() &&
      !options.client.insecure) {
    return refuse("a path names no host to verify; give --servername or --insecure");
  }
  if (const auto unusable = unusable_request(options)) return refuse(*unusable);
  if (const auto obstacle = does_not_fit(options)) return refuse(*obstacle);
  Result<Context> context = make_client_context(options.client);
  if (!context) {
    print_error(kCommand, "TLS: " + context.error().message());
    return kExitFailure;
  }
  if (const auto unusable = configure(*context, options)) {
    return refuse(unusable->what + ": " + unusable->error.message());
  }
  const Told told = options.quiet ? Told::kNo : Told::kYes;
  if (const int status = use_key_log(*context, kCommand, told); status != kExitOk) return status;
  return load(options, *url, *context);
}

void add_load_options(const Command& command, LoadArguments& options) {
  command.add_option("-c,--connections", options.connections, "Connections, of all threads")
      ->type_name("N")
      ->range(std::size_t{1}, std::size_t{1000000})
      ->capture_default_str();
  command.add_option("-t,--threads", options.threads, "Threads, which share the connections")
      ->type_name("N")
      ->range(std::size_t{1}, std::size_t{256})
      ->capture_default_str();
  const Option duration =
      command.add_option("-d,--duration", options.seconds, "Seconds in which requests begin")
          ->range(0.001, 86400.0)
          ->capture_default_str();
  command.add_option("-n,--requests", options.requests, "So many requests, however long they take")
      ->type_name("N")
      ->range(std::size_t{1}, std::size_t{1000000000000})
      ->excludes(duration);
  command
      .add_option("--rate", options.rate,
                  "Requests per second, of all connections; latency then counts from when a "
                  "request was due (default: each connection as fast as it can)")
      ->type_name("N")
      ->range(0.001, 1e9);
  command
      .add_option("--handshakes", options.handshakes,
                  "A new connection for each request, with a full handshake or with the session "
                  "of the one before")
      ->words({"full", "resumed"});
  command.add_option("--idle", options.idle, "Keep so many more connections open, and silent")
      ->type_name("N")
      ->range(std::size_t{1}, std::size_t{1000000});
  command.add_option("--upload", options.upload, "Send a body of so many bytes with each request")
      ->type_name("BYTES")
      ->range(std::size_t{1}, kUploadMax);
  command.add_option("-X,--method", options.method, "Default: GET, or POST with a body");
  command.add_option("-H,--header", options.fields, "Add a field; may be repeated")
      ->type_name("NAME: VALUE")
      ->one_at_a_time();
  command.add_option("--timeout", options.timeout_seconds, "Seconds for each request")
      ->range(0.001, 86400.0)
      ->capture_default_str();
  command.add_flag("--json", options.json, "Print the figures as JSON");
  command.add_flag("-q,--quiet", options.quiet, "Do not show progress");
}

}  // namespace

void add_load(Command& app, std::function<int()>& action) {
  const auto options = std::make_shared<LoadArguments>();
  const Command command = app.add_subcommand(
      "load", "Send many requests over TLS, and measure how the server answers.");
  command.footer(
      "Opens all connections first; what that takes is not measured, nor is the first request of\n"
      "each with --handshakes. Requests that have begun are waited for. Latency runs from the\n"
      "beginning of a request, which includes connecting where that is part of it, to the end of\n"
      "its answer. At a fixed --rate it runs from the time at which the request was due, whether\n"
      "or not a connection was free: a server that stalls is not spared what it delays.\n"
      "Latencies are known to one part in 1024.\n"
      "SIGINT ends it early. Answers other than 2xx and 3xx are counted, not failures.\n"
      "Exit status: 0 if a request was answered with 2xx or 3xx, 1 if none was, 2 wrong usage or\n"
      "unusable input. Errors are one line on standard error.");
  command.add_option("url", options->url, "https://HOST[:PORT][/PATH], HOST:PORT or unix:PATH")
      ->required();
  add_load_options(command, *options);
  add_client_options(command, options->client);
  command.add_option("--ciphersuites", options->suites13,
                     "Suites of TLS 1.3 to offer, such as TLS_AES_128_GCM_SHA256");
  command.add_option("--ciphers", options->suites12,
                     "Suites of TLS 1.2 to offer, as OpenSSL lists them");
  command.callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace heddle::cli
