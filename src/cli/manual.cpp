// Manual pages: see manual.h.
#include "cli/manual.h"

#include <cctype>
#include <string_view>
#include <vector>

#include <fmt/core.h>

namespace heddle::cli {
namespace {

constexpr std::string_view kExitStatus = "Exit status: ";

// As roff shows it: a bare "-" would become a hyphen, which nobody can copy to a shell.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char each : text) {
    if (each == '\\') {
      result += "\\e";
    } else if (each == '-') {
      result += "\\-";
    } else {
      result += each;
    }
  }
  // At the start of a line these would be requests.
  if (result.starts_with('.') || result.starts_with('\'')) result.insert(0, "\\&");
  return result;
}

// What an option takes: a long list of words may be broken behind each.
std::string value_text(std::string_view value) {
  std::string result;
  for (const char each : escaped(value)) {
    result += each;
    if (each == '|') result += "\\:";
  }
  return fmt::format("\\fI{}\\fR", result);
}

std::string bold(std::string_view text) {
  return fmt::format("\\fB{}\\fR", escaped(text));
}

std::string italic(std::string_view text) {
  return fmt::format("\\fI{}\\fR", escaped(text));
}

std::string upper(std::string text) {
  for (char& each : text) {
    each = static_cast<char>(std::toupper(static_cast<unsigned char>(each)));
  }
  return text;
}

// The text line by line; an empty line begins a new paragraph.
std::string paragraphs(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    result += (line.empty() ? ".PP" : escaped(line)) + "\n";
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return result;
}

std::string section(std::string_view title, const std::string& text) {
  return text.empty() ? "" : fmt::format(".SH {}\n{}", title, text);
}

std::string synopsis(const std::string& full_name, const CommandHelp& command) {
  std::string result = bold(full_name) + " [" + italic("options") + "]";
  if (!command.commands.empty()) result.append(" ").append(italic("command"));
  for (const OptionHelp& option : command.options) {
    if (!option.positional) continue;
    const std::string name = italic(option.names.front());
    result += option.required ? fmt::format(" {}", name) : fmt::format(" [{}]", name);
  }
  return result + "\n";
}

// "Needs --cert, --key.", or nothing.
std::string list(std::string_view what, const std::vector<std::string>& names) {
  std::string result;
  for (const std::string& name : names)
    result.append(result.empty() ? "" : ", ").append(bold(name));
  return result.empty() ? "" : std::string(what) + result + ".\n";
}

// The line that shows the option, then what it does, then what else is known of it.
std::string entry(const OptionHelp& option) {
  std::string result = ".TP\n";
  bool is_first = true;
  for (const std::string& name : option.names) {
    if (!is_first) result += ", ";
    is_first = false;
    result += option.positional ? italic(name) : bold(name);
  }
  if (!option.positional && !option.value.empty())
    result.append(" ").append(value_text(option.value));
  if (option.repeats) result += " ...";
  result.append("\n").append(escaped(option.help)).append(".\n");
  if (!option.preset.empty())
    result.append("Default: ").append(bold(option.preset)).append("\n.br\n");
  result += list("Needs ", option.needs) + list("Not with ", option.excludes);
  return result;
}

std::string entries(const CommandHelp& command, bool positional) {
  std::string result;
  for (const OptionHelp& option : command.options) {
    if (option.positional == positional) result += entry(option);
  }
  return result;
}

// The footers' lines about exit statuses have a section of their own in manual pages.
std::string notes_of(const std::string& footer) {
  std::string notes = footer.substr(0, footer.find(kExitStatus));
  while (notes.ends_with('\n')) notes.pop_back();
  return notes;
}

// What a page says of each subcommand within a command.
std::string inner_commands(const std::string& full_name, const CommandHelp& command) {
  std::string result;
  for (const CommandHelp& each : command.commands) {
    result += fmt::format(".SH {}\n{}.PP\n{}", escaped(upper(each.name)),
                          synopsis(full_name + " " + each.name, each), escaped(each.help) + "\n");
    result += entries(each, true) + entries(each, false);
    const std::string notes = notes_of(each.footer);
    if (!notes.empty()) result += ".PP\n" + paragraphs(notes);
  }
  return result;
}

// "heddle-serve(1), ..." for all but the page itself.
std::string see_also(const CommandHelp& program, const CommandHelp& command) {
  std::string result;
  const auto add = [&](const std::string& page) {
    result += fmt::format("{}.BR {} (1)", result.empty() ? "" : " ,\n", escaped(page));
  };
  if (&command != &program) add(program.name);
  for (const CommandHelp& other : program.commands) {
    if (&other != &command) add(program.name + "-" + other.name);
  }
  return result.empty() ? "" : result + "\n";
}

}  // namespace

std::string manual_page(const CommandHelp& program, const CommandHelp& command,
                        const std::string& version) {
  const bool is_program = &command == &program;
  const std::string page = is_program ? program.name : program.name + "-" + command.name;
  const std::string full_name = is_program ? program.name : program.name + " " + command.name;
  std::string commands;
  for (const CommandHelp& each : command.commands) {
    commands += ".TP\n" + bold(each.name) + "\n" + escaped(each.help) + "\n";
  }
  const std::size_t exit = command.footer.find(kExitStatus);
  std::string statuses;
  if (exit != std::string::npos) statuses = command.footer.substr(exit + kExitStatus.size());

  return fmt::format(".TH {} 1 \"\" \"Heddle {}\" \"Heddle\"\n.nh\n.ad l\n", escaped(upper(page)),
                     version) +
         section("NAME", fmt::format("{} \\- {}\n", escaped(page), escaped(command.help))) +
         section("SYNOPSIS", synopsis(full_name, command)) + section("COMMANDS", commands) +
         section("ARGUMENTS", entries(command, true)) +
         section("OPTIONS", entries(command, false)) +
         section("NOTES", paragraphs(notes_of(command.footer))) +
         (is_program ? "" : inner_commands(full_name, command)) +
         section("EXIT STATUS", paragraphs(statuses)) +
         section("SEE ALSO", see_also(program, command));
}

}  // namespace heddle::cli
