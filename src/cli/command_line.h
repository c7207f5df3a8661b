// Command lines: the little of CLI11 that the subcommands need, so that one file alone includes it
// and its templates, which each user compiles anew.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/command_help.h"

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11 is called so.
class App;
class Option;
}  // namespace CLI

namespace heddle::cli {

// Option is a handle to an option that was added; each function changes it and returns it.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  const Option* operator->() const { return this; }

  // What the help shows: as the value, beside the name instead of all, and as the default.
  Option type_name(const std::string& name) const;
  Option option_text(const std::string& text) const;
  Option default_str(const std::string& text) const;
  Option capture_default_str() const;  // The default is the value that the variable has now.

  Option required() const;
  Option needs(const Option& other) const;
  Option excludes(const Option& other) const;

  // For lists: `--name a,b`; only one value after each `--name`.
  Option delimiter(char between) const;
  Option one_at_a_time() const;

  // Refuses other numbers. The help says so, or not. For int, std::size_t and double.
  template <typename Number>
  Option range(Number least, Number most) const;
  template <typename Number>
  Option hidden_range(Number least, Number most) const;
  Option hidden_not_negative() const;
  // Refuses the empty text, which a script passes for a variable that is not set: it must not be
  // taken for an option that was not given.
  Option not_empty() const;

  // Refuses other words, and shows them in the help.
  Option words(const std::vector<std::string>& words) const;

 private:
  CLI::Option* option_;
};

// Command is a handle to a subcommand, or to the program itself.
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}

  Command add_subcommand(const std::string& name, const std::string& help) const;

  // `value` must stay valid until the command line has been parsed. For std::string, a vector of
  // them, std::filesystem::path, unsigned, std::size_t and double.
  template <typename Value>
  Option add_option(const std::string& name, Value& value, const std::string& help) const;
  Option add_flag(const std::string& name, bool& value, const std::string& help) const;

  // Calls `set` with what is given. For std::string and double.
  template <typename Value>
  Option add_option_function(const std::string& name, std::function<void(const Value&)> set,
                             const std::string& help) const;

  Option get_option(const std::string& name) const;

  void footer(const std::string& text) const;
  std::string get_footer() const;

  // What follows the last option is not parsed but is remaining().
  void prefix_command() const;
  std::vector<std::string> remaining() const;

  // It does nothing without one of its own subcommands.
  void require_subcommand() const;

  // Keeps it out of the help and of describe().
  void hide() const;

  // What it accepts, and its subcommands likewise. Every subcommand must have been added.
  CommandHelp describe() const;

  // Called once the command line has been parsed, if it selected this subcommand.
  void callback(std::function<void()> function) const;

 private:
  CLI::App* app_;
};

// Parses the command line of the program that `add_commands` adds subcommands to, and runs the
// action that they set. Returns the exit status.
int run_command_line(
    int argc, char** argv,
    const std::function<void(Command& app, std::function<int()>& action)>& add_commands);

}  // namespace heddle::cli
