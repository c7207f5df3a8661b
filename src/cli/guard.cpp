// heddle guard: runs a command with the error-queue guard (src/guard) preloaded, and sums up.
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/guard_command.h"
#include "cli/guard_environment.h"
#include "cli/guard_summary.h"
#include "cli/guard_target.h"
#include "cli/process.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kCommand = "guard";
constexpr std::string_view kLibraryName = "libheddle-guard.so";

struct GuardOptions {
  bool cure = false;
  bool json = false;
  bool fail = false;
  std::string log_path;
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

// A file in a folder of its own that goes away with this.
class TallyFile {
 public:
  TallyFile() {
    std::error_code error;
    std::string pattern = std::filesystem::temp_directory_path(error) / "heddle-guard-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) return;
    folder_ = pattern;
    // Servers that are started by root write it as the user they become.
    const bool for_others = geteuid() == 0;
    (void)chmod(folder_.c_str(), for_others ? 0711 : 0700);
    const UniqueFd file(creat(path().c_str(), 0600));
    (void)fchmod(file.get(), for_others ? 0622 : 0600);
  }
  ~TallyFile() {
    std::error_code error;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, error);
  }
  TallyFile(const TallyFile&) = delete;
  TallyFile& operator=(const TallyFile&) = delete;

  [[nodiscard]] bool valid() const { return !folder_.empty(); }
  [[nodiscard]] std::string path() const { return folder_ + "/tally"; }

 private:
  std::string folder_;
};

std::vector<std::string> environment(const GuardOptions& options, const std::string& library,
                                     const std::string& tally) {
  std::vector<std::string> changes = {
      "LD_PRELOAD=" + with_library(variable("LD_PRELOAD"), library),
      "ASAN_OPTIONS=" + with_any_order(variable("ASAN_OPTIONS")),
      fmt::format("HEDDLE_GUARD={}", options.cure ? "cure" : "detect"),
      fmt::format("HEDDLE_GUARD_FORMAT={}", options.json ? "json" : "text"),
      "HEDDLE_GUARD_TALLY=" + tally};
  if (!options.log_path.empty()) {
    std::error_code error;
    changes.push_back("HEDDLE_GUARD_LOG=" +
                      std::filesystem::absolute(options.log_path, error).string());
  }
  return changes;
}

// The guard itself cannot complain: it is in somebody else's program.
bool can_append(const std::string& path) {
  return static_cast<bool>(
      UniqueFd(open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)));
}

int run_guard(const GuardOptions& options) {
  if (!options.log_path.empty() && !can_append(options.log_path)) {
    print_error(kCommand, fmt::format("--log {}: {}", options.log_path,
                                      std::generic_category().message(errno)));
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
  const CommandEnd end = run_command(command, environment(options, library, tally.path()));
  if (!end.started) {
    print_error(kCommand, end.message);
    return end.status;
  }
  const GuardSummary summary = summarize(tally.path());
  say(summary.text);
  return end.status == 0 && options.fail && summary.places > 0 ? kExitFailure : end.status;
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
      "It sees programs that are linked with OpenSSL 3 or 4 dynamically, and says if there is "
      "none.\n"
      "\n"
      "Exit status: the command's, 128 + N if signal N ended it; 126 or 127 if it could not be "
      "run;\n"
      "2 wrong usage; 1 with --fail, if the command succeeded but something was found.");
  command.add_flag("--cure", options->cure, "Also empty the queue before such calls");
  command.add_option("--log", options->log_path, "Append the reports to a file (default: stderr)");
  command.add_flag("--json", options->json, "Write the reports as JSON, one object per line");
  command.add_flag("--fail", options->fail, "Exit with 1 if anything was found");
  // Not all as one list: of those CLI11 takes the brackets off an element "[x]".
  command.add_option("command", options->program, "What to run, and its arguments")->required();
  command.prefix_command();
  command.callback([options, command, &action] {
    options->arguments = command.remaining();
    const bool has_mark = !options->arguments.empty() && options->arguments.front() == "--";
    if (has_mark) options->arguments.erase(options->arguments.begin());
    action = [options] { return run_guard(*options); };
  });
}

}  // namespace heddle::cli
