// heddle documentation: writes the manual pages and the completions for shells. The build calls it;
// --help does not show it.
#include <cstdio>
#include <functional>
#include <memory>
#include <string>

#include "heddle/version.h"

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/manual.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

struct DocumentationOptions {
  std::string kind;
  std::string page;  // A subcommand, or "" for the program itself.
};

int write_out(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return kExitOk;
  print_error("documentation", "cannot write to standard output");
  return kExitFailure;
}

int run_documentation(const CommandHelp& program, const DocumentationOptions& options) {
  if (options.kind == "bash") return write_out(bash_completion(program));
  if (options.kind == "zsh") return write_out(zsh_completion(program));
  if (options.page.empty()) return write_out(manual_page(program, program, HEDDLE_VERSION_STRING));
  for (const CommandHelp& command : program.commands) {
    if (command.name != options.page) continue;
    return write_out(manual_page(program, command, HEDDLE_VERSION_STRING));
  }
  print_error("documentation", "there is no command " + options.page);
  return kExitUsage;
}

}  // namespace

void add_documentation(Command& app, std::function<int()>& action) {
  const auto options = std::make_shared<DocumentationOptions>();
  const Command command = app.add_subcommand("documentation", "Write manual pages or completions.");
  command.hide();
  command.add_option("kind", options->kind, "What to write")
      ->words({"man", "bash", "zsh"})
      ->required();
  command.add_option("page", options->page, "Of which subcommand; for man");
  command.callback([options, app, &action] {
    action = [options, app] { return run_documentation(app.describe(), *options); };
  });
}

}  // namespace heddle::cli
