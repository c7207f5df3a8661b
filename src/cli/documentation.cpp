// heddle documentation: writes the manual pages and the completions for shells. The build calls it;
// --help does not show it.
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

int run_documentation(const CommandHelp& program, const DocumentationOptions& options) {
  if (options.kind == "bash") return print_out("documentation", bash_completion(program));
  if (options.kind == "zsh") return print_out("documentation", zsh_completion(program));
  if (options.page.empty())
    return print_out("documentation", manual_page(program, program, HEDDLE_VERSION_STRING));
  for (const CommandHelp& command : program.commands) {
    if (command.name != options.page) continue;
    return print_out("documentation", manual_page(program, command, HEDDLE_VERSION_STRING));
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
