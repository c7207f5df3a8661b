// What the options of TLS clients are called, and what they do to a Context.
#include "cli/client_options.h"

namespace heddle::cli {

void add_client_options(const Command& command, ClientOptions& options) {
  command.add_option("--cafile", options.ca_path, "Trust this CA file or folder, and no other")
      ->type_name("PATH");
  command.add_option("--servername", options.server_name,
                     "The name to ask for and to verify (default: HOST)");
  const Option insecure = command.add_flag("--insecure", options.insecure,
                                           "Do not verify the peer: anybody can be in the middle");
  insecure->excludes(command.get_option("--cafile"));
  command
      .add_flag("--no-strict", options.no_strict,
                "Verify, but accept certificates that break RFC 5280")
      ->excludes(insecure);
  const Option only12 = command.add_flag("--tls12", options.tls12, "TLS 1.2 only");
  command.add_flag("--tls13", options.tls13, "TLS 1.3 only")->excludes(only12);
  command.add_option("--cert", options.cert_path, "Our certificate chain, PEM")->type_name("FILE");
  command.add_option("--key", options.key_path, "Its private key, PEM (default: in --cert)")
      ->type_name("FILE")
      ->needs(command.get_option("--cert"));
}

namespace {

Result<void> set_versions(Context& context, const ClientOptions& options) {
  if (options.tls12) return context.set_versions(TlsVersion::kTls12, TlsVersion::kTls12);
  if (options.tls13) return context.set_versions(TlsVersion::kTls13, TlsVersion::kTls13);
  return {};
}

}  // namespace

std::optional<Unusable> configure_client(Context& context, const ClientOptions& options) {
  if (options.insecure) {
    context.set_verify_mode(VerifyMode::kNone);
    context.set_check_hostname(false);
  }
  if (options.no_strict) context.set_strict(false);
  if (!options.ca_path.empty()) {
    const Result<void> loaded = context.load_verify_locations(options.ca_path);
    if (!loaded) return Unusable{.what = "--cafile", .error = loaded.error()};
  }
  if (!options.cert_path.empty()) {
    const bool apart = !options.key_path.empty();
    const Result<void> loaded =
        context.load_cert_chain(options.cert_path, apart ? options.key_path : options.cert_path);
    if (!loaded) {
      return Unusable{.what = apart ? "--cert and --key" : "--cert", .error = loaded.error()};
    }
  }
  const Result<void> limited = set_versions(context, options);
  if (!limited) return Unusable{.what = "TLS version", .error = limited.error()};
  return std::nullopt;
}

Result<Context> make_client_context(const ClientOptions& options) {
  const bool own_trust = options.insecure || !options.ca_path.empty();
  return Context::create(Role::kClient, own_trust ? Trust::kNothing : Trust::kSystem);
}

}  // namespace heddle::cli
