// The subcommands of `heddle`: one file each, put together by main.cpp.
#pragma once

#include <functional>

namespace heddle::cli {

class Command;

// Each adds its subcommand to `app`. When the command line selects it, `action` is set to what
// runs it and returns the exit status (process.h). Both references must stay valid until then.
void add_serve(Command& app, std::function<int()>& action);
void add_connect(Command& app, std::function<int()>& action);
void add_load(Command& app, std::function<int()>& action);
void add_cert(Command& app, std::function<int()>& action);
void add_demo(Command& app, std::function<int()>& action);
void add_stale(Command& app, std::function<int()>& action);
void add_guard(Command& app, std::function<int()>& action);
void add_documentation(Command& app, std::function<int()>& action);

}  // namespace heddle::cli
