// heddle cert: certificates for development, and what is in those of others and wrong with them.
// The command line; what runs is in cert_make.cpp, cert_show.cpp and cert_check.cpp.
#include "cli/cert.h"

#include <functional>
#include <map>
#include <memory>

#include "cli/command_line.h"
#include "cli/commands.h"

namespace heddle::cli {
namespace {

void add_target(const Command& command, TargetOptions& options) {
  command
      .add_option("target", options.target,
                  "A file, PEM or DER; - for standard input; or HOST:PORT of a server")
      ->type_name("FILE")
      ->required();
  command
      .add_option("--servername", options.server_name,
                  "The name to ask the server for (default: HOST)")
      ->type_name("NAME");
  command.add_option("--timeout", options.timeout_seconds, "How long the server may take")
      ->hidden_range(0.001, 86400.0)
      ->type_name("SECONDS")
      ->capture_default_str();
}

void add_make(const Command& cert, std::function<int()>& action) {
  const auto options = std::make_shared<CertMakeOptions>();
  const Command command =
      cert.add_subcommand("make", "Make a certificate that an authority of your own has signed.");
  command.footer(
      "The authority is ca.pem and ca.key in the folder, made when they are not there. The\n"
      "certificate goes into a file that is called as its first name, with the authority's behind\n"
      "it, and its key beside it, for your eyes only. Nothing is overwritten without --force.\n\n" +
      cert.get_footer());
  command
      .add_option("names", options->names,
                  "What it is for: host names, also *.example.org, and IP addresses; for clients "
                  "also mail addresses and URIs (default: localhost 127.0.0.1 ::1)")
      ->type_name("NAME");
  command.add_option("--folder", options->folder, "Where the authority is, and the files go")
      ->type_name("FOLDER")
      ->capture_default_str();
  const Option client =
      command.add_flag("--client", options->client, "For a client that shows it to servers");
  command
      .add_option("--days", options->days, "How long it is valid (default: 365, an authority 3650)")
      ->type_name("N");
  const std::map<std::string, KeyType> types = {{"ecdsa", KeyType::kEcdsaP256},
                                                {"ecdsa384", KeyType::kEcdsaP384},
                                                {"ed25519", KeyType::kEd25519},
                                                {"rsa", KeyType::kRsa2048},
                                                {"rsa4096", KeyType::kRsa4096}};
  std::vector<std::string> words;
  words.reserve(types.size());
  for (const auto& [word, type] : types) words.push_back(word);
  command
      .add_option_function<std::string>(
          "--key-type",
          [options, types](const std::string& word) { options->key_type = types.at(word); },
          "Its key, and that of an authority that is made")
      ->words(words)
      ->default_str("ecdsa");
  const Option broken =
      command.add_option("--broken", options->broken, "With something wrong, to test who verifies")
          ->words(broken_kinds());
  command.add_flag("--expired", options->expired, "The same as --broken expired")->excludes(broken);
  command
      .add_flag("--ca", options->authority_only, "Make the authority only; with --force, a new one")
      ->excludes(client);
  command.add_flag("--force", options->force, "Overwrite what is there");
  command.callback([options, &action] { action = [options] { return run_cert_make(*options); }; });
}

void add_show(const Command& cert, std::function<int()>& action) {
  const auto options = std::make_shared<CertShowOptions>();
  const Command command =
      cert.add_subcommand("show", "Show what is in the certificates of a file or a server.");
  command.footer(
      "A server's are shown as it sends them, without verifying any. In JSON the members that\n"
      "getpeercert() of Python's ssl knows have its names and its form.\n\n" +
      cert.get_footer());
  add_target(command, options->target);
  command.add_flag("--json", options->json, "As JSON: a list of objects");
  command.callback([options, &action] { action = [options] { return run_cert_show(*options); }; });
}

void add_check(const Command& cert, std::function<int()>& action) {
  const auto options = std::make_shared<CertCheckOptions>();
  const Command command = cert.add_subcommand(
      "check", "Say what is wrong with a chain, its key and its names, all of it.");
  command.footer(
      "Checks what clients that verify strictly do: issuers, signatures, order, times, names, "
      "use,\n"
      "strength. Trusts what the system does, or --cafile.\n"
      "Exit status: 0 all is well, 1 something is wrong, 2 wrong usage or unusable input.\n"
      "Errors are one line on standard error.");
  add_target(command, options->target);
  const Option key =
      command.add_option("--key", options->key, "The private key that must belong to it, PEM")
          ->type_name("FILE");
  command.add_option("--password-file", options->password_file, "The password of the key")
      ->type_name("FILE")
      ->needs(key);
  command
      .add_option("--name", options->names,
                  "A host name or address that it must be for; may be repeated (default, of a "
                  "server: HOST)")
      ->type_name("HOST")
      ->one_at_a_time();
  command
      .add_option("--cafile", options->ca_file, "Trust the certificates in this file, no others")
      ->type_name("FILE");
  command
      .add_option("--days", options->days,
                  "How many days it must be valid yet (default: 14, or a third of its life if that "
                  "is less)")
      ->type_name("N");
  command.add_flag("--client", options->client, "It is for a client");
  command.callback([options, &action] { action = [options] { return run_cert_check(*options); }; });
}

}  // namespace

void add_cert(Command& app, std::function<int()>& action) {
  const Command command =
      app.add_subcommand("cert", "Make certificates for development, show and check any.");
  command.require_subcommand();
  command.footer(
      "Exit status: 0 success, 1 failure at run time, or check has found something wrong, 2 wrong\n"
      "usage or unusable input.\n"
      "Errors are one line on standard error.");  // Those within inherit it.
  add_make(command, action);
  add_show(command, action);
  add_check(command, action);
}

}  // namespace heddle::cli
