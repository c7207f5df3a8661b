// The subcommands of `heddle`: one file each, put together by main.cpp.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace heddle::cli {

// Each adds its subcommand to `app`. When the command line selects it, `action` is set to what
// runs it and returns the exit status (process.h). Both references must stay valid until then.
void add_serve(CLI::App& app, std::function<int()>& action);
void add_connect(CLI::App& app, std::function<int()>& action);
void add_demo(CLI::App& app, std::function<int()>& action);
void add_stale(CLI::App& app, std::function<int()>& action);
void add_guard(CLI::App& app, std::function<int()>& action);

}  // namespace heddle::cli
