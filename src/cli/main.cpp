// heddle: the command line program. Finds the subcommand and runs it.
#include <cstdio>
#include <exception>
#include <functional>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

void add_commands(Command& app, std::function<int()>& action) {
  add_serve(app, action);
  add_connect(app, action);
  add_load(app, action);
  add_cert(app, action);
  add_demo(app, action);
  add_stale(app, action);
  add_guard(app, action);
  add_documentation(app, action);
}

}  // namespace
}  // namespace heddle::cli

int main(int argc, char** argv) {
  heddle::cli::prepare_process();
  try {
    return heddle::cli::run_command_line(argc, argv, heddle::cli::add_commands);
  } catch (const std::exception& error) {  // Such as bad_alloc; our own failures are values.
    (void)std::fprintf(stderr, "heddle: %s\n", error.what());
    return heddle::cli::kExitFailure;
  }
}
