// heddle: the command line program. Finds the subcommand and runs it.
#include <cstdio>
#include <exception>
#include <functional>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "cli/commands.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

// The name of the subcommand that was selected, or "".
std::string selected(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? std::string() : commands.front()->get_name();
}

int explain(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    return app.exit(error);  // --help and --version arrive here, too.
  }
  const std::string command = selected(app);
  print_error(command, fmt::format("{}; run heddle {}{}--help", error.what(), command,
                                   command.empty() ? "" : " "));
  return kExitUsage;
}

int run(int argc, char** argv) {
  CLI::App app("TLS for stackful coroutines: thousands of connections on one thread.", "heddle");
  app.set_version_flag("--version", "heddle " HEDDLE_VERSION);
  app.footer(
      "Exit status: 0 success, 1 failure at run time, 2 wrong usage or unusable input.\n"
      "Errors are one line on standard error.");  // Subcommands inherit it.
  app.require_subcommand(1);

  std::function<int()> action;
  add_serve(app, action);
  add_connect(app, action);
  add_demo(app, action);
  add_stale(app, action);
  add_guard(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  }
  return action();
}

}  // namespace
}  // namespace heddle::cli

int main(int argc, char** argv) {
  heddle::cli::prepare_process();
  try {
    return heddle::cli::run(argc, argv);
  } catch (const std::exception& error) {  // Such as bad_alloc; our own failures are values.
    (void)std::fprintf(stderr, "heddle: %s\n", error.what());
    return heddle::cli::kExitFailure;
  }
}
