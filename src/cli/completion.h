// Completions for shells out of what the command line accepts.
#pragma once

#include <string>

#include "cli/command_help.h"

namespace heddle::cli {

// Each returns a script: for bash a function and its `complete`, for zsh a file that begins with
// #compdef. Both complete subcommands, options, the words that an option takes, and file names.
std::string bash_completion(const CommandHelp& program);
std::string zsh_completion(const CommandHelp& program);

}  // namespace heddle::cli
