// What a command line accepts, as data: what --help, the manual pages and the completions of shells
// are made of.
#pragma once

#include <string>
#include <vector>

namespace heddle::cli {

struct OptionHelp {
  std::vector<std::string> names;  // "-o", "--output"; for a positional argument its one name.
  bool positional = false;
  bool required = false;
  bool repeats = false;
  std::string value;               // What --help shows as its value, such as "FILE"; "" for a flag.
  std::vector<std::string> words;  // If it takes one of a few words only.
  std::string preset;              // The default, or "".
  std::string help;
  std::vector<std::string> needs;  // Names of other options, sorted.
  std::vector<std::string> excludes;
};

struct CommandHelp {
  std::string name;  // "heddle", or a subcommand's own name.
  std::string help;  // One line.
  std::string footer;
  std::vector<OptionHelp> options;
  std::vector<CommandHelp> commands;  // Without hidden ones.
};

}  // namespace heddle::cli
