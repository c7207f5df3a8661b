// Runs a command as if the user had: same terminal, signals passed on, its end told.
#pragma once

#include <string>
#include <vector>

namespace heddle::cli {

struct CommandEnd {
  bool started = false;
  int status = 0;       // As a shell's: the exit status, 128 + signal, 127 or 126.
  std::string message;  // Why it did not start.
};

// Runs `command` with `changes` ("NAME=VALUE") made to the environment, and waits for its end.
// Blocks the signals that it passes on, in the calling thread, for good.
CommandEnd run_command(const std::vector<std::string>& command,
                       const std::vector<std::string>& changes);

}  // namespace heddle::cli
