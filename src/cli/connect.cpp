// heddle connect: a TLS client. Shows what was negotiated and who the peer is, then pipes standard
// input to the peer and the peer to standard output, each way by a fiber of its own.
#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>
#include <unistd.h>

#include "heddle/fiber.h"
#include "heddle/runtime.h"
#include "heddle/socket.h"
#include "heddle/tls/context.h"
#include "heddle/tls/stream.h"

#include "cli/client_options.h"
#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/endpoint.h"
#include "cli/key_log.h"
#include "cli/peer_report.h"
#include "cli/process.h"
#include "cli/proxy.h"
#include "cli/session_json.h"
#include "cli/starttls.h"
#include "cli/stdio_threads.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kCommand = "connect";

// A record's worth: what one SSL_read() can bring.
constexpr std::size_t kReadBytes = std::size_t{16} * 1024;

// How long to wait for the peer's end once it has said that it will send no more.
constexpr auto kLinger = std::chrono::milliseconds(500);

struct ConnectArguments {
  std::string target;
  std::string proxy;
  std::string proxy_ca_path;
  ClientOptions client;
  std::vector<std::string> alpn;
  std::string starttls;
  double timeout_seconds = 10;
  bool half_close = false;
  bool no_half_close = false;
  bool quiet = false;
  bool json = false;
  bool reconnect = false;

  // Whether to tell on standard error what was negotiated, and with whom.
  bool tells() const noexcept { return !quiet && !json; }
  Verified verified() const noexcept { return client.insecure ? Verified::kNo : Verified::kYes; }
};

int fail(const std::string& what, const Error& error, const std::string& message,
         std::string_view advice) {
  // The error's own context may begin with what this is about.
  const std::string begin = what + ": ";
  print_error(kCommand, fmt::format("{}{}{}{}", message.starts_with(begin) ? "" : begin, message,
                                    advice.empty() ? "" : "; ", advice));
  return error.code == Errc::kInvalid ? kExitUsage : kExitFailure;
}

int fail(const std::string& what, const Error& error, std::string_view advice = "") {
  return fail(what, error, error.message(), advice);
}

// Of a connection that could not be made.
int fail(const std::string& what, const Error& error, const std::string& message, Peer peer) {
  // If more is known than the error itself, it says what is wrong.
  const bool is_explained = error.code == Errc::kProtocol && message != error.message();
  return fail(what, error, message, is_explained ? "" : advice_on_handshake(error, peer));
}

// Applies `options` and prints what cannot be used. Returns the exit status so far.
int configure(Context& context, const ConnectArguments& options) {
  if (const auto unusable = configure_client(context, options.client)) {
    return fail(unusable->what, unusable->error);
  }
  if (!options.alpn.empty()) {
    const std::vector<std::string_view> protocols(options.alpn.begin(), options.alpn.end());
    const Result<void> set = context.set_alpn_protocols(protocols);
    if (!set) return fail("--alpn", set.error());
  }
  return kExitOk;
}

// --- Piping --------------------------------------------------------------------------------------

// When the peer is told of the end of standard input. Many servers (Node's, asyncio's) cannot send
// on a connection whose other way has ended, and drop their answer: to be told is only for those
// that wait for it. Without any input there is no answer to lose.
enum class TellEnd { kIfEmpty, kAlways, kNever };

TellEnd tell_end(const ConnectArguments& options) {
  if (options.no_half_close) return TellEnd::kNever;
  return options.half_close ? TellEnd::kAlways : TellEnd::kIfEmpty;
}

// Failing input ends both ways: the peer must not take its end for ours.
Result<void> send_input(InputThread& input, Stream& stream, TellEnd tell,
                        Task<Result<void>>& receiver) {
  bool half_close = tell != TellEnd::kNever;
  while (true) {
    const Result<Block> block = input.next();
    if (!block) {
      receiver.cancel();
      return block.error();
    }
    if (block->empty()) break;
    const Result<void> sent = stream.write(*block, Deadline::never());
    if (!sent) return sent.error();
    half_close = tell == TellEnd::kAlways;
  }
  return half_close ? stream.shutdown_write(Deadline::never()) : Result<void>();
}

// Ends when the peer does, or when standard output does: the latter is for finish() to tell.
Result<void> receive_output(Stream& stream, OutputThread& output) {
  std::array<std::byte, kReadBytes> buffer{};
  while (true) {
    const Result<std::size_t> count = stream.read(buffer, Deadline::never());
    if (!count) return count.error();
    if (*count == 0) return {};
    const auto received = std::span(buffer).first(*count);
    if (!output.write(Block(received.begin(), received.end()))) return {};
  }
}

struct Outcome {
  Result<void> received;
  Result<void> sent;
};

Outcome pipe_both_ways(Stream& stream, InputThread& input, OutputThread& output, TellEnd tell) {
  return scope([&](Scope& fibers) -> Outcome {
    auto receiver = fibers.spawn("receiver", [&] { return receive_output(stream, output); });
    if (!receiver) return {.received = receiver.error(), .sent = {}};
    auto sender =
        fibers.spawn("sender", [&] { return send_input(input, stream, tell, *receiver); });
    if (!sender) {
      receiver->cancel();
      return {.received = receiver->join(), .sent = sender.error()};
    }
    const Result<void> received = receiver->join();
    sender->cancel();  // The peer's end is ours: there is nobody left to answer.
    return {.received = received, .sent = sender->join()};
  });
}

bool matters(const Result<void>& result) {
  return !result && result.error().code != Errc::kCancelled;
}

int report(const Outcome& outcome, const Result<void>& flushed, const std::string& peer) {
  if (!flushed && flushed.error().sys_errno == EPIPE) return kExitOk;  // As in `connect | head`.
  if (!flushed) return fail("standard output", flushed.error());
  if (matters(outcome.received)) {
    const bool cut = outcome.received.error().code == Errc::kTruncated;
    return fail(peer, outcome.received.error(), cut ? "what was received may be cut short" : "");
  }
  if (matters(outcome.sent)) {
    return fail("sending standard input", outcome.sent.error());
  }
  return kExitOk;
}

int pipe(Runtime& runtime, Stream& stream, const ConnectArguments& options) {
  const Result<std::unique_ptr<InputThread>> input = InputThread::start(runtime, STDIN_FILENO);
  if (!input) return fail("standard input", input.error());
  OutputThread output(runtime, STDOUT_FILENO);
  const Outcome outcome = pipe_both_ways(stream, **input, output, tell_end(options));
  // All that matters has been said: how the goodbye goes does not change the outcome.
  (void)stream.close(this_fiber::after(kLinger));
  return report(outcome, output.finish(), options.target);
}

// --- The connection ------------------------------------------------------------------------------

// Where TLS to the target may begin.
struct Route {
  std::unique_ptr<Transport> transport;  // Null: what failed has been printed.
  std::string where{};                   // It leads, in words.
  int status = kExitOk;                  // Or of the failure.
};

Result<Socket> dial(Runtime& runtime, const Endpoint& endpoint, Deadline deadline) {
  if (endpoint.unix_path.empty()) return connect(runtime, endpoint.host, endpoint.port, deadline);
  const Result<Address> address = Address::from_unix_path(endpoint.unix_path);
  if (!address) return address.error();
  return connect(runtime, *address, deadline);
}

Route reach_directly(Runtime& runtime, const Endpoint& endpoint, const ConnectArguments& options,
                     Deadline deadline) {
  Result<Socket> socket = dial(runtime, endpoint, deadline);
  if (!socket) {
    return {.transport = nullptr,
            .status = fail(options.target, socket.error(), advice_on_connecting(socket.error()))};
  }
  const Result<Address> address = socket->peer_address();
  return {.transport = std::make_unique<Socket>(*std::move(socket)),
          .where = address ? address->to_string() : options.target};
}

Route reach_through_proxy(Runtime& runtime, const Proxy& proxy, const Endpoint& endpoint,
                          const ConnectArguments& options, Deadline deadline) {
  const std::string name = "proxy " + proxy.endpoint.to_string();
  const std::string& ca_path = options.proxy_ca_path;
  Result<Context> context =
      Context::create(Role::kClient, ca_path.empty() ? Trust::kSystem : Trust::kNothing);
  if (!context) return {.transport = nullptr, .status = fail("TLS", context.error())};
  if (options.client.no_strict) context->set_strict(false);
  const auto loaded = ca_path.empty() ? Result<void>() : context->load_verify_locations(ca_path);
  if (!loaded) {
    return {.transport = nullptr, .status = fail("--proxy-cafile", loaded.error())};
  }
  Tunnel tunnel = open_tunnel(runtime, proxy, *context, endpoint, deadline);
  if (!tunnel.transport) {
    const Error& error = tunnel.transport.error();
    if (options.tells()) print_refused(tunnel.certificates, name);
    const int status = tunnel.reached ? fail(name, error, tunnel.message, Peer::kProxy)
                                      : fail("proxy", error, advice_on_connecting(error));
    return {.transport = nullptr, .status = status};
  }
  return {.transport = *std::move(tunnel.transport), .where = options.target + " through " + name};
}

std::string server_name(const Endpoint& endpoint, const ConnectArguments& options) {
  return options.client.server_name.empty() ? endpoint.host : options.client.server_name;
}

// Has the server begin TLS, if that takes words. Returns the exit status so far.
int begin_tls(Transport& transport, const Endpoint& endpoint, const ConnectArguments& options,
              Deadline deadline) {
  const std::optional<StartTls> protocol = parse_starttls(options.starttls);
  if (!protocol) return kExitOk;
  const auto failed = start_tls(transport, *protocol, server_name(endpoint, options), deadline);
  if (!failed) return kExitOk;
  const bool timed_out = failed->error.code == Errc::kTimedOut;
  return fail(options.target, failed->error, failed->message,
              timed_out ? "check that the port speaks the protocol of --starttls, or wait longer "
                          "with --timeout"
                        : "");
}

// Where to, and how.
struct Plan {
  Runtime& runtime;
  const Context& context;
  const Endpoint& endpoint;
  const std::optional<Proxy>& proxy;
  const ConnectArguments& options;
};

struct Connected {
  std::optional<Stream> stream;  // None: what failed has been printed.
  std::string where{};
  int status = kExitOk;  // Or of the failure.
};

// A handshake that failed.
Connected refuse(Stream& stream, const std::string& where, const ConnectArguments& options,
                 const Error& error) {
  (void)stream.close(this_fiber::after(kLinger));  // So that our alert arrives.
  if (options.tells()) print_refused(stream.peer_certificates(), where);
  const std::string message = stream.explain(error);
  if (options.json) {
    const SessionReport report{
        .target = options.target, .where = where, .verified = options.verified(), .error = message};
    (void)print_out(kCommand, session_as_json(stream, report));
  }
  return {.stream = std::nullopt, .status = fail(options.target, error, message, Peer::kServer)};
}

Connected open(const Plan& plan, const std::optional<Session>& session) {
  const ConnectArguments& options = plan.options;
  const std::chrono::duration<double> timeout(options.timeout_seconds);
  const Deadline deadline = this_fiber::after(std::chrono::duration_cast<Duration>(timeout));
  Route route =
      plan.proxy ? reach_through_proxy(plan.runtime, *plan.proxy, plan.endpoint, options, deadline)
                 : reach_directly(plan.runtime, plan.endpoint, options, deadline);
  if (route.transport == nullptr) return {.stream = std::nullopt, .status = route.status};
  const int begun = begin_tls(*route.transport, plan.endpoint, options, deadline);
  if (begun != kExitOk) return {.stream = std::nullopt, .status = begun};
  Result<Stream> stream =
      Stream::create(plan.context, std::move(route.transport),
                     {.server_name = server_name(plan.endpoint, options), .session = session});
  if (!stream) return {.stream = std::nullopt, .status = fail(options.target, stream.error())};
  const Result<void> shaken = stream->handshake(deadline);
  if (!shaken) return refuse(*stream, route.where, options, shaken.error());
  return {.stream = *std::move(stream), .where = route.where};
}

// Ends the first connection, with a session to resume if the server gives one. In TLS 1.3 that
// comes at any time after the handshake, mostly at once, and a read() meets it; what the server
// says meanwhile is dropped.
std::optional<Session> take_session(Stream& stream) {
  constexpr int kLooksMax = 50;
  constexpr auto kLook = std::chrono::milliseconds(20);
  std::array<std::byte, kReadBytes> dropped{};
  std::optional<Session> session = stream.session();
  for (int i = 0; i < kLooksMax && !(session && session->is_resumable()); ++i) {
    const Result<std::size_t> got = stream.read(dropped, this_fiber::after(kLook));
    session = stream.session();
    if (got ? *got == 0 : got.error().code != Errc::kTimedOut) break;
  }
  (void)stream.close(this_fiber::after(kLinger));
  if (session && !session->is_resumable()) session.reset();
  return session;
}

std::string describe(const Reconnected& again) {
  const char* const why = again.state.resumed ? ""
                          : again.offered     ? ": the server did not resume the one offered"
                                              : ": the server gave none to resume";
  return fmt::format("connected again: {}, {}, {} session{}\n", again.state.version,
                     again.state.cipher, again.state.resumed ? "resumed" : "new", why);
}

int talk(const Plan& plan) {
  const ConnectArguments& options = plan.options;
  Connected first = open(plan, std::nullopt);
  if (!first.stream) return first.status;
  if (options.tells()) print_session(*first.stream, first.where, options.verified());
  SessionReport report{
      .target = options.target, .where = first.where, .verified = options.verified()};
  std::optional<Stream> second;
  if (options.reconnect) {
    const std::optional<Session> session = take_session(*first.stream);
    Connected again = open(plan, session);
    if (!again.stream) return again.status;
    second = std::move(again.stream);
    report.again = Reconnected{.state = second->connection_state(), .offered = session.has_value()};
    if (options.tells()) say(describe(*report.again));
  }
  Stream& last = second ? *second : *first.stream;
  if (!options.json) return pipe(plan.runtime, last, options);
  (void)last.close(this_fiber::after(kLinger));
  return print_out(kCommand, session_as_json(*first.stream, report));
}

int run_connect(const ConnectArguments& options) {
  const std::optional<Endpoint> endpoint = parse_endpoint(options.target);
  if (!endpoint) {
    print_error(kCommand, without_credentials(options.target) +
                              ": this is no address; give HOST:PORT, [IPV6]:PORT or unix:PATH");
    return kExitUsage;
  }
  const std::optional<Proxy> proxy = parse_proxy(options.proxy);
  if (!options.proxy.empty() && (!proxy || endpoint->host.empty())) {
    print_error(
        kCommand,
        "--proxy: give https://[USER:PASSWORD@]HOST:PORT, and a HOST:PORT to reach; in USER "
        "and PASSWORD anything but letters and digits may be percent-encoded (@ is %40)");
    return kExitUsage;
  }
  if (server_name(*endpoint, options).empty() && !options.client.insecure) {
    print_error(kCommand, options.target +
                              ": a path names no host to verify; give --servername or --insecure");
    return kExitUsage;
  }
  Result<Context> context = make_client_context(options.client);
  if (!context) return fail("TLS", context.error());
  if (const int status = configure(*context, options); status != kExitOk) return status;
  const Told told = options.quiet ? Told::kNo : Told::kYes;
  if (const int status = use_key_log(*context, kCommand, told); status != kExitOk) return status;

  Result<Runtime> runtime = Runtime::create();
  if (!runtime) return fail("runtime", runtime.error());
  int status = kExitFailure;
  const auto started = runtime->spawn("connect", [&] {
    status = talk({*runtime, *context, *endpoint, proxy, options});
  });
  if (!started) return fail("fiber", started.error());
  runtime->run();
  return status;
}

}  // namespace

void add_connect(Command& app, std::function<int()>& action) {
  const auto options = std::make_shared<ConnectArguments>();
  const Command command = app.add_subcommand(
      "connect", "Connect with TLS, show the peer, pipe standard input and output.");
  command.footer(
      "It ends when the peer does. The end of standard input is told to the peer only if there\n"
      "was no input, since many servers drop their answer then; --half-close is for servers that\n"
      "wait for it. --no-strict holds for the proxy, too.\n"
      "--json prints one object: target, reached, error, version, cipher, group,\n"
      "signatureAlgorithm, alpn, serverName, resumed, verification (requested, verified, code,\n"
      "depth, subject), certificates (as heddle cert show --json), verifiedChain (the sha256 of\n"
      "each), reconnect (offered, resumed, version, cipher, group). What there is not is null. It\n"
      "is also printed, with an error, if the handshake fails.\n"
      "With --reconnect what the server says on the first connection is dropped.\n"
      "If SSLKEYLOGFILE is set, the keys of the connection to the target are added to that file,\n"
      "in the form that Wireshark reads.\n\n" +
      app.get_footer());
  command.add_option("target", options->target, "HOST:PORT, [IPV6]:PORT or unix:PATH")->required();
  command
      .add_option("--proxy", options->proxy,
                  "Connect through this HTTPS proxy: https://[USER:PASSWORD@]HOST:PORT, USER and "
                  "PASSWORD percent-encoded")
      ->option_text("URL");
  command
      .add_option("--proxy-cafile", options->proxy_ca_path,
                  "Trust this CA file or folder for the proxy, and no other")
      ->type_name("PATH")
      ->needs(command.get_option("--proxy"));
  add_client_options(command, options->client);
  command.add_option("--alpn", options->alpn, "Protocols to offer, such as h2,http/1.1")
      ->delimiter(',')
      ->one_at_a_time();
  command
      .add_option("--starttls", options->starttls,
                  "Speak this protocol first, until the server begins TLS")
      ->words(starttls_names());
  command.add_option("--timeout", options->timeout_seconds, "Seconds for connecting and handshake")
      ->range(0.001, 86400.0)
      ->capture_default_str();
  const Option half_close = command.add_flag("--half-close", options->half_close,
                                             "Tell the peer about the end of standard input");
  command
      .add_flag("-N,--no-half-close", options->no_half_close,
                "Never tell the peer about it, not even if there was no input")
      ->excludes(half_close);
  const Option json =
      command
          .add_flag("--json", options->json,
                    "Print what was negotiated, the certificates and the verdict on them as JSON, "
                    "and end: nothing is piped")
          ->excludes(half_close)
          ->excludes(command.get_option("--no-half-close"));
  command.add_flag("--reconnect", options->reconnect,
                   "Connect a second time with the session of the first, say whether it was "
                   "resumed, and go on there");
  command.add_flag("-q,--quiet", options->quiet, "Do not show the session and the peer")
      ->excludes(json);
  command.callback([options, &action] { action = [options] { return run_connect(*options); }; });
}

}  // namespace heddle::cli
