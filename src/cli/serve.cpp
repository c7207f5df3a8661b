// heddle serve: an HTTPS file server. Here: its command line, and what it is made of.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "heddle/address.h"
#include "heddle/tls/context.h"
#include "heddle/tls/ktls.h"

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/key_log.h"
#include "cli/process.h"
#include "cli/serve_certificate.h"
#include "cli/serve_clients.h"
#include "cli/serve_workers.h"
#include "http/connection.h"
#include "http/root.h"
#include "http/server.h"
#include "http/site.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kProtocol = "http/1.1";

struct ServeArguments {
  std::filesystem::path folder = ".";
  std::string listen = "127.0.0.1:8443";
  ServeCertificate certificate;
  ServeClients clients;
  std::string ciphers;
  std::string ciphersuites;
  std::string groups;
  TlsVersion min_tls = TlsVersion::kTls12;
  TlsVersion max_tls = TlsVersion::kTls13;
  Isolation isolation = Isolation::kIsolated;
  KernelTls kernel_tls = KernelTls::kOff;
  unsigned threads = 1;
  std::size_t max_connections = 0;
  http::Timeouts timeouts;
  Duration grace = http::ServerOptions().grace;
  bool access_log = false;
  bool handshake_log = false;
};

// What can be wrong before anything runs, in one line: what, why, what to do.
int refuse(std::string_view what, std::string_view why, std::string_view remedy) {
  print_error("serve", fmt::format("{}: {}; {}", what, why, remedy));
  return kExitUsage;
}

std::string system_text(int sys_errno) {
  return std::generic_category().message(sys_errno);
}

std::string reason(const Error& error) {
  return error.sys_errno != 0 ? system_text(error.sys_errno) : error.message();
}

// An option that cannot be used.
struct Unusable {
  std::string what;
  Error error;
  const char* remedy;
};

// Sets one of the lists that Context takes as text.
std::optional<Unusable> set_list(Context& context, const std::string& list, const char* name,
                                 Result<void> (Context::*set)(std::string_view),
                                 const char* remedy) {
  if (list.empty()) return std::nullopt;
  const Result<void> done = (context.*set)(list);
  if (done) return std::nullopt;
  return Unusable{
      .what = fmt::format("cannot use {} {}", name, list), .error = done.error(), .remedy = remedy};
}

std::optional<Unusable> configure(Context& context, const ServeArguments& options) {
  if (const auto set = context.set_versions(options.min_tls, options.max_tls); !set) {
    return Unusable{"cannot limit TLS versions", set.error(), "use others"};
  }
  if (const auto set = context.set_alpn_protocols(std::span(&kProtocol, 1)); !set) {
    return Unusable{"cannot offer HTTP", set.error(), "try again"};
  }
  if (auto bad = set_list(context, options.ciphers, "--ciphers", &Context::set_ciphers,
                          "see `openssl ciphers -v -tls1_2`")) {
    return bad;
  }
  if (auto bad = set_list(context, options.ciphersuites, "--ciphersuites",
                          &Context::set_ciphersuites, "see `openssl ciphers -s -tls1_3`")) {
    return bad;
  }
  if (auto bad =
          set_list(context, options.groups, "--groups", &Context::set_groups,
                   "give names such as X25519:P-256, or ?NAME for one that may be unknown")) {
    return bad;
  }
  if (const auto set = context.set_kernel_tls(options.kernel_tls); !set) {
    return Unusable{"cannot use --ktls on", set.error(),
                    "load the kernel's module (modprobe tls), or use --ktls auto"};
  }
  return std::nullopt;
}

// Options of which one leaves the other nothing to do.
int check_versions(const ServeArguments& options) {
  if (options.min_tls > options.max_tls) {
    return refuse("no TLS version is left", "--min-tls is above --max-tls", "swap them");
  }
  if (!options.ciphers.empty() && options.min_tls == TlsVersion::kTls13) {
    return refuse("--ciphers is without effect", "it is for TLS 1.2, which --min-tls excludes",
                  "use --ciphersuites for TLS 1.3");
  }
  if (!options.ciphersuites.empty() && options.max_tls == TlsVersion::kTls12) {
    return refuse("--ciphersuites is without effect", "it is for TLS 1.3, which --max-tls excludes",
                  "use --ciphers for TLS 1.2");
  }
  return kExitOk;
}

std::size_t connection_limit(const ServeArguments& options, std::size_t descriptors) {
  std::size_t limit = options.max_connections;
  if (limit == 0) {
    // What is not for connections is for the files that they ask for, and for ourselves.
    const std::size_t reserve = std::min<std::size_t>(descriptors / 2, 128);
    limit = descriptors - reserve;
  }
  return std::max<std::size_t>(limit / options.threads, 1);
}

// "localhost" is this machine's loopback (RFC 6761, 6.3), and needs no resolver.
std::optional<Address> parse_listen(const std::string& text) {
  constexpr std::string_view kLocalhost = "localhost:";
  const bool is_local = text.starts_with(kLocalhost);
  Result<Address> address =
      Address::parse(is_local ? "127.0.0.1:" + text.substr(kLocalhost.size()) : text);
  if (!address || text.starts_with("unix:")) return std::nullopt;
  return *address;
}

// What TLS needs, as long as the server runs.
struct Tls {
  std::optional<Context> context;  // Of the listener.
  ServedCertificate served;
  std::unique_ptr<ClientTrust> clients;  // Null: clients are not asked for certificates.
};

// A context as the options say that has been set up before, so that nothing should fail. `tls` must
// outlive what it returns.
ClientTrust::Make make_again(const Tls& tls, const ServeArguments& options) {
  return [&tls, &options]() -> Result<Context> {
    Result<Context> context = Context::create(Role::kServer);
    if (!context) return context;
    if (const auto bad = configure(*context, options)) return bad->error;
    if (const auto shown = tls.served.show(*context); !shown) return shown.error();
    if (use_key_log(*context, "serve", Told::kNo) != kExitOk) {
      return Error{.code = Errc::kInvalid, .operation = "log keys"};
    }
    return context;
  };
}

int set_up_clients(Tls& tls, const ServeArguments& options) {
  if (options.clients.ca.empty()) return kExitOk;
  // Before the files are read, so that a change behind that is noticed.
  tls.clients = std::make_unique<ClientTrust>(options.clients, make_again(tls, options));
  if (const auto trusted = verify_clients(*tls.context, options.clients); !trusted) {
    return refuse("cannot verify clients", trusted.error().message(),
                  "--client-ca must be a file of CA certificates, and each --crl one of CRLs");
  }
  tls.context->on_client_hello(tls.clients->callback());
  return kExitOk;
}

// Returns an exit status.
int set_up_tls(Tls& tls, const ServeArguments& options, const Address& address) {
  Result<Context> context = Context::create(Role::kServer);
  if (!context) {
    print_error("serve", "cannot set up TLS: " + context.error().message());
    return kExitFailure;
  }
  tls.context.emplace(*std::move(context));
  if (const auto bad = configure(*tls.context, options)) {
    return refuse(bad->what, bad->error.message(), bad->remedy);
  }
  if (const int status = use_key_log(*tls.context, "serve", Told::kYes); status != kExitOk) {
    return status;
  }
  const int status = get_certificate(options.certificate, address, tls.served);
  if (status != kExitOk) return status;
  if (const Result<void> shown = tls.served.show(*tls.context); !shown) {
    print_error("serve", "cannot use the certificate: " + shown.error().message());
    return kExitFailure;
  }
  return set_up_clients(tls, options);
}

int run_serve(const ServeArguments& options) {
  if (const int status = check_versions(options); status != kExitOk) return status;
  Result<http::Root> root = http::Root::create(options.folder);
  if (!root) {
    return refuse("cannot serve " + options.folder.string(), reason(root.error()),
                  "give a folder that exists and that you may read");
  }
  const std::optional<Address> address = parse_listen(options.listen);
  if (!address) {
    return refuse("cannot listen on " + options.listen, "not an IP address with a port",
                  "write 127.0.0.1:8443, [::1]:8443 or localhost:8443");
  }
  Tls tls;
  if (const int status = set_up_tls(tls, options, *address); status != kExitOk) return status;
  warn_about_files(options.certificate, options.folder);

  const http::Site site(std::move(*root), http::PrivateFiles(private_files(options.certificate)));
  const std::size_t descriptors = raise_descriptor_limit();
  return run_workers({.address = *address,
                      .context = *tls.context,
                      .site = site,
                      .fingerprint = tls.served.made ? tls.served.made->sha256 : "",
                      .watcher = tls.served.watcher ? &*tls.served.watcher : nullptr,
                      .clients = tls.clients.get(),
                      .isolation = options.isolation,
                      .threads = options.threads,
                      .connections_max = connection_limit(options, descriptors),
                      .timeouts = options.timeouts,
                      .grace = options.grace,
                      .access_log = options.access_log,
                      .handshake_log = options.handshake_log});
}

// An option that takes one of a few words.
template <typename Value>
Option add_choice(const Command& command, const char* name, Value& value,
                  std::map<std::string, Value> words, const char* help) {
  std::vector<std::string> names;
  std::string preset;
  for (const auto& [word, meaning] : words) {
    names.push_back(word);
    if (meaning == value) preset = word;
  }
  const auto set = [&value, words = std::move(words)](const std::string& word) {
    value = words.at(word);
  };
  return command.add_option_function<std::string>(name, set, help)
      ->words(names)
      ->default_str(preset);
}

void add_seconds(const Command& command, const char* name, Duration& value, const char* help) {
  using Seconds = std::chrono::duration<double>;
  const auto set = [&value](const double& seconds) {
    value = std::chrono::duration_cast<Duration>(Seconds(seconds));
  };
  command.add_option_function<double>(name, set, help)
      ->hidden_range(0.001, 86400.0)
      ->type_name("SECONDS")
      ->default_str(fmt::format("{:g}", Seconds(value).count()));
}

void add_certificate_options(const Command& command, ServeCertificate& options) {
  const Option cert =
      command
          .add_option(
              "--cert", options.certs,
              "Certificate chain, PEM, leaf first; may be repeated, for keys of other types")
          ->type_name("FILE")
          ->not_empty()
          ->one_at_a_time();
  command
      .add_option("--key", options.keys,
                  "Its private key, PEM; one for each --cert, in the same order; default: in the "
                  "--cert files")
      ->type_name("FILE")
      ->not_empty()
      ->one_at_a_time()
      ->needs(cert);
  command.add_option("--write-cert", options.write_cert, "Write the self-made certificate, PEM")
      ->type_name("FILE")
      ->excludes(cert);
  command
      .add_option("--name", options.names,
                  "A name or address that clients will use: goes into the self-made certificate, "
                  "and --cert is checked for it; may be repeated")
      ->type_name("HOST");
  add_choice(
      command, "--key-type", options.key_type,
      {{"ecdsa", KeyType::kEcdsaP256}, {"rsa", KeyType::kRsa2048}, {"ed25519", KeyType::kEd25519}},
      "Key of the self-made certificate")
      ->excludes(cert);
}

void add_client_options(const Command& command, ServeClients& options) {
  const Option ca = command
                        .add_option("--client-ca", options.ca,
                                    "Ask clients for a certificate that one of these CAs has "
                                    "signed, PEM; the access log names its subject")
                        ->type_name("FILE")
                        ->not_empty();
  add_choice(command, "--client-auth", options.mode,
             {{"optional", VerifyMode::kOptional}, {"required", VerifyMode::kRequired}},
             "Whether clients without a certificate are served; one that does not verify is "
             "refused in any case")
      ->needs(ca);
  command
      .add_option("--crl", options.crls,
                  "CRLs, PEM or DER; each certificate of a client's chain must be good by one of "
                  "its issuer; may be repeated")
      ->type_name("FILE")
      ->not_empty()
      ->one_at_a_time()
      ->needs(ca);
}

void add_tls_options(const Command& command, ServeArguments& options) {
  const std::map<std::string, TlsVersion> versions = {{"1.2", TlsVersion::kTls12},
                                                      {"1.3", TlsVersion::kTls13}};
  add_choice(command, "--min-tls", options.min_tls, versions, "Oldest TLS version accepted");
  add_choice(command, "--max-tls", options.max_tls, versions, "Newest TLS version accepted");
  command
      .add_option("--ciphers", options.ciphers,
                  "Ciphers for TLS 1.2, as OpenSSL's list; default: those with forward secrecy")
      ->type_name("LIST")
      ->not_empty();
  command.add_option("--ciphersuites", options.ciphersuites, "Ciphers for TLS 1.3, NAME:NAME...")
      ->type_name("LIST")
      ->not_empty();
  command
      .add_option("--groups", options.groups,
                  "Groups for the key exchange, best first, such as X25519:P-256; ?NAME is left "
                  "out if it is unknown")
      ->type_name("LIST")
      ->not_empty();
  add_choice(command, "--ktls", options.kernel_tls,
             {{"off", KernelTls::kOff}, {"auto", KernelTls::kAutomatic}, {"on", KernelTls::kOn}},
             "Have the kernel encrypt: where that is safe, or always; the latter refuses "
             "connections for which it cannot, and ends TLS 1.3 ones that update their keys if "
             "OpenSSL is older than 3.5 or Linux than 6.14");
  std::map<std::string, Isolation> isolations;
  for (const Isolation each : kIsolations) isolations.emplace(name_of(each), each);
  add_choice(command, "--isolation", options.isolation, isolations,
             "What is done about OpenSSL's error queue; the others are faulty, and for the "
             "regression harness and benchmarks");
}

}  // namespace

void add_serve(Command& app, std::function<int()>& action) {
  auto options = std::make_shared<ServeArguments>();
  const Command command = app.add_subcommand("serve", "Serve the files of a folder over HTTPS.");
  command.add_option("DIR", options->folder, "Folder to serve")
      ->type_name("FOLDER")
      ->capture_default_str();
  command.add_option("--listen", options->listen, "Where to listen; port 0 takes any free port")
      ->type_name("ADDR:PORT")
      ->capture_default_str();
  add_certificate_options(command, options->certificate);
  add_client_options(command, options->clients);
  add_tls_options(command, *options);
  command.add_option("--threads", options->threads, "Threads, each with its own connections")
      ->type_name("N")
      ->hidden_range(1, 256)
      ->capture_default_str();
  command
      .add_option("--max-connections", options->max_connections,
                  "For more, the one that waits longest gives way; 0: as many as descriptors allow")
      ->type_name("N")
      ->capture_default_str();
  add_seconds(command, "--handshake-timeout", options->timeouts.handshake,
              "How long a handshake may take");
  add_seconds(command, "--idle-timeout", options->timeouts.idle,
              "How long a connection may wait for its next request");
  add_seconds(command, "--grace", options->grace,
              "How long requests may take to finish after SIGINT or SIGTERM");
  command.add_flag("--access-log", options->access_log,
                   "One line on standard error for each request; lines that nobody reads in time "
                   "are dropped and counted");
  command.add_flag("--handshake-log", options->handshake_log,
                   "The same for each handshake that failed, with the reason");
  command.footer(
      "Prints the address on its first line, and then the certificate's fingerprint if it made\n"
      "one itself. SIGINT and SIGTERM let requests finish; a second one ends it at once.\n"
      "SIGUSR1 lists the fibers, and what each waits for, on standard error. SIGHUP reads\n"
      "certificates, --client-ca and --crl anew; so does a change of these files. What cannot be\n"
      "used leaves what is in use.\n"
      "Names that begin with a dot are not listed, and the server's keys are not served. Up to 64\n"
      "files stay open until nobody has asked for them for 5 seconds; every request looks its "
      "name\n"
      "up, so what is sent is never older than the request.\n"
      "If SSLKEYLOGFILE is set, the keys of all connections are added to that file, in the form\n"
      "that Wireshark reads.\n"
      "Exit status: 0 after SIGINT or SIGTERM, 1 failure at run time, 2 wrong usage, a file that\n"
      "cannot be used or an address that is taken, 128 + N after a second signal N.\n"
      "Errors are one line on standard error.");
  command.callback([options, &action] { action = [options] { return run_serve(*options); }; });
}

}  // namespace heddle::cli
