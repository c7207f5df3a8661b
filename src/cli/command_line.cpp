// Command lines by CLI11: see command_line.h.
#include "cli/command_line.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <set>
#include <sstream>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "heddle/version.h"

#include "cli/process.h"
#include "cli/proxy.h"

namespace heddle::cli {
namespace {

// The name of the subcommand that was selected, "cert make" for one within another; or "".
std::string selected(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  if (commands.empty()) return {};
  const std::string inner = selected(*commands.front());
  return commands.front()->get_name() + (inner.empty() ? "" : " ") + inner;
}

int explain(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    return app.exit(error);  // --help and --version arrive here, too.
  }
  const std::string command = selected(app);
  print_error(command, fmt::format("{}; run heddle {}{}--help", without_credentials(error.what()),
                                   command, command.empty() ? "" : " "));
  return kExitUsage;
}

// Without what the help would say of it.
CLI::Validator hidden(CLI::Validator validator) {
  return validator.description("");
}

// tidy: CLI11 keeps them by address; here they are put in order.
std::vector<std::string> sorted_names(const std::set<CLI::Option*>& options) {
  std::vector<std::string> names;
  names.reserve(options.size());
  for (const CLI::Option* option : options) names.push_back(option->get_name());
  std::sort(names.begin(), names.end());
  return names;
}

// Words are shown as "a|b", see Option::words().
std::vector<std::string> words_of(const std::string& value) {
  if (value.find('|') == std::string::npos) return {};
  std::vector<std::string> words;
  std::istringstream all(value);
  for (std::string word; std::getline(all, word, '|');) words.push_back(word);
  return words;
}

OptionHelp describe_option(const CLI::Option& option) {
  OptionHelp help;
  help.positional = option.get_positional();
  if (help.positional) {
    help.names.push_back(option.get_name(true));
  } else {
    for (const std::string& name : option.get_snames()) help.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) help.names.push_back("--" + name);
  }
  help.required = option.get_required();
  const bool has_value = option.get_type_size() != 0;
  help.repeats = has_value && option.get_items_expected_max() > 1;
  if (has_value) {
    help.value =
        option.get_option_text().empty() ? option.get_type_name() : option.get_option_text();
  }
  help.words = words_of(help.value);
  help.preset = option.get_default_str();
  help.help = option.get_description();
  help.needs = sorted_names(option.get_needs());
  help.excludes = sorted_names(option.get_excludes());
  return help;
}

CommandHelp describe_command(const CLI::App& app) {
  CommandHelp help{.name = app.get_name(),
                   .help = app.get_description(),
                   .footer = app.get_footer(),
                   .options = {},
                   .commands = {}};
  for (const CLI::Option* option : app.get_options()) {
    help.options.push_back(describe_option(*option));
  }
  for (const CLI::App* command : app.get_subcommands({})) {
    if (!command->get_group().empty()) help.commands.push_back(describe_command(*command));
  }
  return help;
}

}  // namespace

// --- Option -------------------------------------------------------------------------------------

Option Option::type_name(const std::string& name) const {
  return Option(option_->type_name(name));
}

Option Option::option_text(const std::string& text) const {
  return Option(option_->option_text(text));
}

Option Option::default_str(const std::string& text) const {
  return Option(option_->default_str(text));
}

Option Option::capture_default_str() const {
  return Option(option_->capture_default_str());
}

Option Option::required() const {
  return Option(option_->required());
}

Option Option::needs(const Option& other) const {
  return Option(option_->needs(other.option_));
}

Option Option::excludes(const Option& other) const {
  return Option(option_->excludes(other.option_));
}

Option Option::delimiter(char between) const {
  return Option(option_->delimiter(between));
}

Option Option::one_at_a_time() const {
  return Option(option_->allow_extra_args(false));
}

template <typename Number>
Option Option::range(Number least, Number most) const {
  return Option(option_->check(CLI::Range(least, most)));
}

template <typename Number>
Option Option::hidden_range(Number least, Number most) const {
  return Option(option_->check(hidden(CLI::Range(least, most))));
}

Option Option::hidden_not_negative() const {
  return Option(option_->check(hidden(CLI::NonNegativeNumber)));
}

Option Option::not_empty() const {
  const auto check = [](const std::string& text) {
    return text.empty() ? std::string("is empty") : std::string();
  };
  return Option(option_->check(check));
}

Option Option::words(const std::vector<std::string>& words) const {
  std::string shown;
  for (const std::string& word : words) shown.append(shown.empty() ? "" : "|").append(word);
  return Option(option_->check(hidden(CLI::IsMember(words)))->type_name(shown));
}

template Option Option::range(std::size_t, std::size_t) const;
template Option Option::range(double, double) const;
template Option Option::hidden_range(int, int) const;
template Option Option::hidden_range(double, double) const;

// --- Command ------------------------------------------------------------------------------------

Command Command::add_subcommand(const std::string& name, const std::string& help) const {
  return Command(app_->add_subcommand(name, help));
}

template <typename Value>
Option Command::add_option(const std::string& name, Value& value, const std::string& help) const {
  return Option(app_->add_option(name, value, help));
}

Option Command::add_flag(const std::string& name, bool& value, const std::string& help) const {
  return Option(app_->add_flag(name, value, help));
}

template <typename Value>
Option Command::add_option_function(const std::string& name, std::function<void(const Value&)> set,
                                    const std::string& help) const {
  return Option(app_->add_option_function<Value>(name, std::move(set), help));
}

template Option Command::add_option(const std::string&, std::string&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<std::string>&,
                                    const std::string&) const;
template Option Command::add_option(const std::string&, std::filesystem::path&,
                                    const std::string&) const;
template Option Command::add_option(const std::string&, unsigned&, const std::string&) const;
template Option Command::add_option(const std::string&, std::size_t&, const std::string&) const;
template Option Command::add_option(const std::string&, double&, const std::string&) const;
template Option Command::add_option_function(const std::string&,
                                             std::function<void(const std::string&)>,
                                             const std::string&) const;
template Option Command::add_option_function(const std::string&, std::function<void(const double&)>,
                                             const std::string&) const;

Option Command::get_option(const std::string& name) const {
  return Option(app_->get_option(name));
}

void Command::footer(const std::string& text) const {
  app_->footer(text);
}

std::string Command::get_footer() const {
  return app_->get_footer();
}

void Command::prefix_command() const {
  app_->prefix_command();
}

std::vector<std::string> Command::remaining() const {
  return app_->remaining();
}

void Command::require_subcommand() const {
  app_->require_subcommand(1);
}

void Command::hide() const {
  app_->group("");
}

CommandHelp Command::describe() const {
  return describe_command(*app_);
}

void Command::callback(std::function<void()> function) const {
  app_->callback(std::move(function));
}

// --- The program --------------------------------------------------------------------------------

int run_command_line(
    int argc, char** argv,
    const std::function<void(Command& app, std::function<int()>& action)>& add_commands) {
  CLI::App app("TLS for stackful coroutines: thousands of connections on one thread.", "heddle");
  app.set_version_flag("--version", "heddle " HEDDLE_VERSION_STRING);
  app.footer(
      "Exit status: 0 success, 1 failure at run time, 2 wrong usage or unusable input.\n"
      "Errors are one line on standard error.");  // Subcommands inherit it.
  app.require_subcommand(1);

  std::function<int()> action;
  Command command(&app);
  add_commands(command, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return explain(app, error);
  }
  return action();
}

}  // namespace heddle::cli
