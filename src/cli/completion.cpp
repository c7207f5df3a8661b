// Completions for shells: see completion.h.
#include "cli/completion.h"

#include <string_view>

#include <fmt/core.h>

namespace heddle::cli {
namespace {

// What a shell offers for a value.
enum class Offer { kNothing, kWords, kFiles, kFolders, kCommands };

Offer offer_of(const OptionHelp& option) {
  if (!option.words.empty()) return Offer::kWords;
  const std::string& kind = option.value;
  if (kind == "FILE" || kind == "PATH") return Offer::kFiles;
  if (kind == "FOLDER") return Offer::kFolders;
  if (kind == "COMMAND") return Offer::kCommands;
  return Offer::kNothing;
}

std::string joined(const std::vector<std::string>& parts, std::string_view between) {
  std::string result;
  for (const std::string& part : parts) {
    if (!result.empty()) result += between;
    result += part;
  }
  return result;
}

std::vector<std::string> names_of(const std::vector<CommandHelp>& commands) {
  std::vector<std::string> names;
  names.reserve(commands.size());
  for (const CommandHelp& command : commands) names.push_back(command.name);
  return names;
}

// Within single quotes, in both shells.
std::string in_quotes(std::string_view text) {
  std::string result = "'";
  for (const char each : text) {
    if (each == '\'') {
      result += "'\\''";
    } else {
      result += each;
    }
  }
  return result + "'";
}

// --- bash ---------------------------------------------------------------------------------------

constexpr std::string_view kBashHead = R"(_heddle() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' i
  COMPREPLY=()
  # bash makes three words of --name=value.
  if [[ $current == '=' ]]; then
    current=''
  elif [[ $previous == '=' ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi
)";

std::string bash_reply(const OptionHelp& option) {
  switch (offer_of(option)) {
    case Offer::kWords:
      return fmt::format("mapfile -t COMPREPLY < <(compgen -W {} -- \"$current\")",
                         in_quotes(joined(option.words, " ")));
    case Offer::kFiles:
      return "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$current\")";
    case Offer::kFolders:
      return "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$current\")";
    case Offer::kCommands:
      return "mapfile -t COMPREPLY < <(compgen -c -- \"$current\")";
    case Offer::kNothing:
      break;
  }
  return ":";
}

// The branches for words that follow an option with a value. `name` is "cert make" for a command
// within another.
std::string bash_values(const CommandHelp& command, const std::string& name) {
  std::string result;
  for (const OptionHelp& option : command.options) {
    if (option.positional || option.value.empty()) continue;
    std::string patterns;
    for (const std::string& each : option.names) {
      patterns += fmt::format("{}'{} {}'", patterns.empty() ? "" : " | ", name, each);
    }
    result += fmt::format("    {}) {}; return ;;\n", patterns, bash_reply(option));
  }
  return result;
}

// The branch for everything else: options, or what stands alone.
std::string bash_words(const CommandHelp& command, const std::string& name) {
  std::string options;
  std::string alone = ":";
  if (!command.commands.empty()) {
    const std::string names = joined(names_of(command.commands), " ");
    alone = fmt::format("mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$current\")", names);
  }
  for (const OptionHelp& option : command.options) {
    if (option.positional) {
      alone = bash_reply(option);
    } else {
      options.append(options.empty() ? "" : " ").append(joined(option.names, " "));
    }
  }
  return fmt::format(
      "    '{}')\n"
      "      if [[ $current == -* ]]; then\n"
      "        mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$current\")\n"
      "      else\n"
      "        {}\n"
      "      fi\n"
      "      ;;\n",
      name, options, alone);
}

// Finds the command within a command.
std::string bash_inner(const CommandHelp& command) {
  if (command.commands.empty()) return "";
  return fmt::format(
      "  if [[ $command == {0} ]]; then\n"
      "    for ((i++; i < COMP_CWORD; i++)); do\n"
      "      case ${{COMP_WORDS[i]}} in\n"
      "        {1}) command=\"{0} ${{COMP_WORDS[i]}}\"; break ;;\n"
      "      esac\n"
      "    done\n"
      "  fi\n",
      command.name, joined(names_of(command.commands), " | "));
}

// --- zsh ----------------------------------------------------------------------------------------

// What may stand in the description of an option, or of a subcommand.
std::string zsh_text(std::string_view text) {
  std::string result;
  for (const char each : text) {
    if (each == '[' || each == ']' || each == ':' || each == '\\') result += '\\';
    result += each;
  }
  return result;
}

std::string zsh_value(const OptionHelp& option) {
  switch (offer_of(option)) {
    case Offer::kWords:
      return fmt::format("({})", joined(option.words, " "));
    case Offer::kFiles:
      return "_files";
    case Offer::kFolders:
      return "_files -/";
    case Offer::kCommands:
      return "_command_names -e";
    case Offer::kNothing:
      break;
  }
  return " ";
}

// The arguments of _arguments, one line each.
std::string zsh_arguments(const CommandHelp& command, std::string_view indent) {
  std::string result;
  for (const OptionHelp& option : command.options) {
    const std::string help = zsh_text(option.help);
    if (option.positional) {
      result += fmt::format(
          " \\\n{}{}", indent,
          in_quotes(fmt::format("{}:{}:{}", option.repeats ? "*" : "1", help, zsh_value(option))));
      continue;
    }
    std::string value;
    if (!option.value.empty()) {
      value = fmt::format(":{}:{}", zsh_text(option.value), zsh_value(option));
    }
    for (const std::string& name : option.names) {
      const std::string others =
          option.repeats ? "*" : fmt::format("({})", joined(option.names, " "));
      const bool may_join = !value.empty() && name.starts_with("--");  // --name=value.
      result += fmt::format(
          " \\\n{}{}", indent,
          in_quotes(fmt::format("{}{}{}[{}]{}", others, name, may_join ? "=" : "", help, value)));
    }
  }
  return result;
}

// The branch of a command. One with commands within asks for these first.
std::string zsh_branch(const CommandHelp& command) {
  const std::string arguments = zsh_arguments(command, "            ");
  if (command.commands.empty()) {
    return fmt::format("        {})\n          _arguments -S{}\n          ;;\n", command.name,
                       arguments);
  }
  std::string names;
  std::string branches;
  for (const CommandHelp& each : command.commands) {
    names += fmt::format("                {}\n", in_quotes(each.name + ":" + zsh_text(each.help)));
    branches += fmt::format(
        "                {})\n                  _arguments -S{}\n                  ;;\n", each.name,
        zsh_arguments(each, "                    "));
  }
  return fmt::format(
      "        {0})\n"
      "          _arguments -C{1} \\\n"
      "            '1: :->inner' \\\n"
      "            '*:: :->inner_arguments'\n"
      "          case $state in\n"
      "            inner)\n"
      "              commands=(\n{2}              )\n"
      "              _describe command commands\n"
      "              ;;\n"
      "            inner_arguments)\n"
      "              case $line[1] in\n{3}              esac\n"
      "              ;;\n"
      "          esac\n"
      "          ;;\n",
      command.name, arguments, names, branches);
}

}  // namespace

std::string bash_completion(const CommandHelp& program) {
  std::string names;
  std::string pattern;
  std::string values;
  std::string words;
  std::string inner;
  for (const CommandHelp& command : program.commands) {
    names += command.name + " ";
    pattern.append(pattern.empty() ? "" : " | ").append(command.name);
    values += bash_values(command, command.name);
    words += bash_words(command, command.name);
    inner += bash_inner(command);
    for (const CommandHelp& each : command.commands) {
      values += bash_values(each, command.name + " " + each.name);
      words += bash_words(each, command.name + " " + each.name);
    }
  }
  for (const OptionHelp& option : program.options) names += joined(option.names, " ") + " ";
  return fmt::format(
      "# bash completion for {0}\n{1}"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case ${{COMP_WORDS[i]}} in\n"
      "      {2}) command=${{COMP_WORDS[i]}}; break ;;\n"
      "    esac\n"
      "  done\n{3}"
      "  case \"$command $previous\" in\n{4}  esac\n"
      "  case $command in\n{5}"
      "    *) mapfile -t COMPREPLY < <(compgen -W '{6}' -- \"$current\") ;;\n"
      "  esac\n"
      "}}\n"
      "complete -F _heddle {0}\n",
      program.name, kBashHead, pattern, inner, values, words, names);
}

std::string zsh_completion(const CommandHelp& program) {
  std::string commands;
  std::string branches;
  for (const CommandHelp& command : program.commands) {
    commands += fmt::format("        {}\n", in_quotes(command.name + ":" + zsh_text(command.help)));
    branches += zsh_branch(command);
  }
  return fmt::format(
      "#compdef {0}\n\n"
      "_heddle() {{\n"
      "  local curcontext=$curcontext state line\n"
      "  local -a commands\n"
      "  typeset -A opt_args\n"
      "  _arguments -C{1} \\\n"
      "    '1: :->command' \\\n"
      "    '*:: :->arguments'\n"
      "  case $state in\n"
      "    command)\n"
      "      commands=(\n{2}      )\n"
      "      _describe command commands\n"
      "      ;;\n"
      "    arguments)\n"
      "      case $line[1] in\n{3}      esac\n"
      "      ;;\n"
      "  esac\n"
      "}}\n\n"
      "_heddle \"$@\"\n",
      program.name, zsh_arguments(program, "    "), commands, branches);
}

}  // namespace heddle::cli
