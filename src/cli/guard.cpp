// heddle guard: runs a command with the error-queue guard (src/guard) preloaded, and sums up.
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/core.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/guard_command.h"
#include "cli/guard_environment.h"
#include "cli/guard_files.h"
#include "cli/guard_summary.h"
#include "cli/guard_target.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kCommand = "guard";
constexpr int kExitNothingWatched = 3;
constexpr std::string_view kLibraryName = "libheddle-guard.so";

struct GuardOptions {
  bool cure = false;
  bool json = false;
  bool fail = false;
  std::string log_path;
  std::string provoke;  // A number; "" without.
  std::string program;
  std::vector<std::string> arguments;
};

// Nobody else runs in this program yet, and nobody changes the environment.
std::string variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? "" : value;
}

// Beside this program in a build tree, else where the two are installed; "" if nowhere.
std::string find_guard_library() {
  namespace fs = std::filesystem;
  const std::string given = variable("HEDDLE_GUARD_LIBRARY");
  std::error_code error;
  if (!given.empty()) return fs::exists(given, error) ? fs::absolute(given, error).string() : "";
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  const std::array<fs::path, 3> candidates = {
      folder / kLibraryName, folder.parent_path() / HEDDLE_LIBDIR / "heddle" / kLibraryName,
      fs::path(HEDDLE_PREFIX) / HEDDLE_LIBDIR / "heddle" / kLibraryName};
  for (const fs::path& candidate : candidates) {
    if (fs::exists(candidate, error)) return candidate.string();
  }
  return "";
}

// What root starts often becomes another user, or goes into a chroot(), and cannot open the files
// then. Others cannot do that, and their programs are spared descriptors that they did not open.
class Inheritance {
 public:
  Inheritance(const TallyFile& tally, const LogFile& log) {
    if (geteuid() != 0) return;
    tally_ = inheritable(tally.descriptor());
    log_ = inheritable(log.descriptor.get());
  }

  void add_to(std::vector<std::string>& environment) const {
    environment.push_back("HEDDLE_GUARD_TALLY_FD=" + name_of_inherited(tally_));
    environment.push_back("HEDDLE_GUARD_LOG_FD=" + name_of_inherited(log_));
  }

 private:
  UniqueFd tally_;
  UniqueFd log_;
};

std::vector<std::string> environment(const GuardOptions& options, const std::string& library,
                                     const std::string& tally) {
  std::vector<std::string> changes = {
      "LD_PRELOAD=" + with_library(variable("LD_PRELOAD"), library),
      "ASAN_OPTIONS=" + with_any_order(variable("ASAN_OPTIONS")),
      fmt::format("HEDDLE_GUARD={}", options.cure ? "cure" : "detect"),
      fmt::format("HEDDLE_GUARD_FORMAT={}", options.json ? "json" : "text"),
      "HEDDLE_GUARD_TALLY=" + tally};
  // One that is inherited is not meant.
  changes.push_back("HEDDLE_GUARD_PROVOKE=" + options.provoke);
  if (!options.log_path.empty()) {
    std::error_code error;
    changes.push_back("HEDDLE_GUARD_LOG=" +
                      std::filesystem::absolute(options.log_path, error).string());
  }
  return changes;
}

bool is_number(const std::string& text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  return parsed.ec == std::errc() && parsed.ptr == end;
}

int run_guard(const GuardOptions& options) {
  if (!options.provoke.empty() && !is_number(options.provoke)) {
    print_error(kCommand, fmt::format("--provoke {}: a seed is a number", options.provoke));
    return kExitUsage;
  }
  // The guard itself cannot complain: it is in somebody else's program.
  LogFile log;
  if (!options.log_path.empty()) log = open_log(options.log_path);
  if (!log.error.empty()) {
    print_error(kCommand, fmt::format("--log {}: {}", options.log_path, log.error));
    return kExitUsage;
  }
  const std::string library = find_guard_library();
  if (library.empty()) {
    print_error(kCommand,
                fmt::format("{} is not there; name it in HEDDLE_GUARD_LIBRARY", kLibraryName));
    return kExitUsage;
  }
  if (library.find_first_of(" :") != std::string::npos) {
    print_error(kCommand, library + ": LD_PRELOAD takes no path with a space or colon");
    return kExitUsage;
  }
  const TallyFile tally;
  if (!tally.valid()) {
    print_error(kCommand, "there is no room for a temporary file; set TMPDIR");
    return kExitFailure;
  }
  const std::string obstacle = obstacle_to_preloading(options.program);
  if (!obstacle.empty()) print_error(kCommand, obstacle);
  std::vector<std::string> command = {options.program};
  command.insert(command.end(), options.arguments.begin(), options.arguments.end());
  const Inheritance inheritance(tally, log);
  std::vector<std::string> changes = environment(options, library, tally.path());
  inheritance.add_to(changes);
  const CommandEnd end = run_command(command, changes);
  if (!end.started) {
    print_error(kCommand, end.message);
    return end.status;
  }
  const GuardSummary summary = summarize(tally, !options.provoke.empty());
  say(summary.text);
  if (end.status != 0 || !(options.fail || !options.provoke.empty())) return end.status;
  if (!summary.watched) return kExitNothingWatched;
  const bool found = options.fail && summary.places > 0;
  return found || summary.changed > 0 ? kExitFailure : kExitOk;
}

}  // namespace

void add_guard(Command& app, std::function<int()>& action) {
  const auto options = std::make_shared<GuardOptions>();
  const Command command = app.add_subcommand(
      "guard", "Find, or cure, stale OpenSSL errors in a program that is not ours.");
  command.footer(
      "heddle guard [OPTIONS] -- COMMAND [ARGUMENTS...]\n\n"
      "Reports every TLS call that the command, or a process it starts, makes while OpenSSL's "
      "error\n"
      "queue holds an entry of something else: OpenSSL may then call a healthy connection dead.\n"
      "Also when such an entry comes during the call.\n"
      "It sees programs that are linked with OpenSSL 3 or 4 dynamically, and says if there is "
      "none.\n"
      "\n"
      "Exit status: the command's, 128 + N if signal N ended it; 126 or 127 if it could not be "
      "run;\n"
      "2 wrong usage. With --fail or --provoke, if the command succeeded: 1 if something was "
      "found, "
      "or\n"
      "a verdict was changed by what --provoke left; 3 if nothing could be watched.\n"
      "\n"
      "--provoke leaves entries of real operations that fail where one task's code can run "
      "between\n"
      "another's TLS calls: on threads that serve connections in turns, after a call, and within\n"
      "callbacks. The same seed leaves them at the same points. A program without the bug does "
      "not\n"
      "notice.");
  command.add_flag("--cure", options->cure,
                   "Also empty the queue, so that the program is told the truth");
  command.add_option("--log", options->log_path, "Append the reports to a file (default: stderr)")
      ->type_name("FILE");
  command.add_flag("--json", options->json, "Write the reports as JSON, one object per line");
  command
      .add_option("--provoke", options->provoke,
                  "Also leave entries on purpose, to see whether the program has the bug")
      ->type_name("SEED");
  command.add_flag("--fail", options->fail,
                   "Exit with 1 if anything was found, 3 if nothing was watched");
  // Not all as one list: of those CLI11 takes the brackets off an element "[x]".
  command.add_option("command", options->program, "What to run, and its arguments")
      ->type_name("COMMAND")
      ->required();
  command.prefix_command();
  command.callback([options, command, &action] {
    options->arguments = command.remaining();
    const bool has_mark = !options->arguments.empty() && options->arguments.front() == "--";
    if (has_mark) options->arguments.erase(options->arguments.begin());
    action = [options] { return run_guard(*options); };
  });
}

}  // namespace heddle::cli
