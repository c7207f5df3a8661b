// heddle stale: the stale-error bug, played in every combination and reported.
#include "heddle/stale.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <unistd.h>

#include "heddle/isolation.h"

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/demo_progress.h"
#include "cli/process.h"
#include "cli/stale_list.h"

namespace heddle::cli {
namespace {

constexpr std::string_view kCommand = "stale";

struct StaleOptions {
  std::vector<std::string> patterns;
  std::vector<std::string> policies;
  std::string stack = "heddle";
  std::uint64_t seed = 1;
  std::string format = "table";
  std::string output;
  std::string colour = "auto";
  bool verbose = false;
  bool list = false;
  bool openssl = false;
};

// --- Where it goes ------------------------------------------------------------------------------

int fail_to_write(const std::string& where, int sys_errno) {
  if (where.empty() && sys_errno == EPIPE) return kExitOk;  // As in `stale | head`.
  print_error(kCommand, fmt::format("{}: {}", where.empty() ? "standard output" : where,
                                    std::generic_category().message(sys_errno)));
  return kExitFailure;
}

// The report's file, or standard output.
class Output {
 public:
  // Opened before anything is run, so that a file that cannot be written is known at once. Returns
  // the exit status so far.
  int open(const std::string& path) {
    path_ = path;
    if (path.empty()) return kExitOk;
    file_.reset(std::fopen(path.c_str(), "we"));
    return file_ ? kExitOk : fail_to_write(path, errno);
  }

  // Writes all of the report. Returns the exit status so far.
  int write(std::string_view text) {
    FILE* const stream = file_ ? file_.get() : stdout;
    const bool written = std::fwrite(text.data(), 1, text.size(), stream) == text.size();
    if (!written || std::fflush(stream) != 0) return fail_to_write(path_, errno);
    // Some file systems notice a full disk only now.
    if (file_ && std::fclose(file_.release()) != 0) return fail_to_write(path_, errno);
    return kExitOk;
  }

 private:
  struct Close {
    void operator()(FILE* file) const { (void)std::fclose(file); }
  };

  std::string path_;
  std::unique_ptr<FILE, Close> file_;
};

bool in_colour(const StaleOptions& options) {
  if (options.colour != "auto") return options.colour == "always";
  return options.output.empty() && wants_colour(STDOUT_FILENO);
}

std::string as_text(const stale::Report& report, const StaleOptions& options) {
  if (options.format == "json") return stale::as_json(report);
  if (options.format == "junit") return stale::as_junit(report);
  if (options.format == "html") return stale::as_html(report);
  return stale::as_table(report, in_colour(options),
                         options.verbose ? stale::Examples::kAll : stale::Examples::kFew);
}

// --- What to run --------------------------------------------------------------------------------

bool matches_one(const stale::Scenario& scenario, std::span<const stale::Scenario> some) {
  return std::any_of(some.begin(), some.end(),
                     [&](const auto& other) { return other.id() == scenario.id(); });
}

// Those that match, each once and in the order of all; nothing and an error line if a pattern
// matches none.
std::optional<std::vector<stale::Scenario>> select(const std::vector<std::string>& patterns) {
  std::vector<stale::Scenario> all = stale::scenarios();
  if (patterns.empty()) return all;
  std::vector<stale::Scenario> wanted;
  for (const std::string& pattern : patterns) {
    const std::vector<stale::Scenario> some = stale::scenarios(pattern);
    if (some.empty()) {
      print_error(kCommand,
                  fmt::format("--scenario {}: no scenario matches; --list shows all", pattern));
      return std::nullopt;
    }
    wanted.insert(wanted.end(), some.begin(), some.end());
  }
  std::erase_if(all, [&](const auto& scenario) { return !matches_one(scenario, wanted); });
  return all;
}

std::vector<std::unique_ptr<stale::Stack>> make_stacks(const StaleOptions& options) {
  std::vector<std::unique_ptr<stale::Stack>> stacks;
  if (options.stack == "openssl") {
    stacks.push_back(stale::make_careless_stack());
    return stacks;
  }
  for (const Isolation policy : kIsolations) {
    const bool named =
        std::count(options.policies.begin(), options.policies.end(), name_of(policy)) != 0;
    if (options.policies.empty() || named) stacks.push_back(stale::make_heddle_stack(policy));
  }
  return stacks;
}

stale::Report run_all(const StaleOptions& options, std::span<const stale::Scenario> scenarios) {
  stale::Report report{.openssl = stale::openssl_version(), .seed = options.seed};
  Progress progress;
  for (const auto& stack : make_stacks(options)) {
    progress.begin(fmt::format("{}: {} scenario{}", stack->name(), scenarios.size(),
                               scenarios.size() == 1 ? "" : "s"));
    for (std::size_t index = 0; index < scenarios.size(); ++index) {
      progress.update(static_cast<double>(index) / static_cast<double>(scenarios.size()),
                      scenarios[index].id());
      report.cells.push_back(stale::run(*stack, scenarios[index], options.seed));
    }
  }
  return report;
}

// A CI system that asked for a file shows what is printed, too.
void say_what_failed(const stale::Report& report, const StaleOptions& options) {
  if (options.output.empty() && options.format == "table") return;  // It said so itself.
  print_error(kCommand, stale::conclusion(report));
}

// --- Without a report ---------------------------------------------------------------------------

// How many scenarios show the bug on this OpenSSL if nothing is done about it.
std::size_t expected_failures(std::uint64_t seed) {
  const auto stack = stale::make_heddle_stack(Isolation::kShared);
  const stale::Report report = stale::run(*stack, stale::scenarios(), seed);
  return static_cast<std::size_t>(
      std::count_if(report.cells.begin(), report.cells.end(), [](const stale::Cell& cell) {
        return cell.expected == stale::Verdict::kSpurious || cell.expected == stale::Verdict::kLost;
      }));
}

std::string about_openssl(std::uint64_t seed) {
  const stale::OpensslFacts facts = stale::openssl_facts();
  return fmt::format(
      "running with   {}\n"
      "compiled with  {}\n"
      "SSL_get_error  looks at the {} first\n"
      "shared         is expected to fail in {} of {} scenarios\n",
      facts.running, facts.built_with, facts.queue_first ? "error queue" : "connection",
      expected_failures(seed), stale::scenarios().size());
}

int usage(std::string_view message) {
  print_error(kCommand, message);
  return kExitUsage;
}

int run_stale(const StaleOptions& options) {
  if (options.stack == "openssl" && !options.policies.empty()) {
    return usage("--policy: plain OpenSSL has none; leave out --policy or --stack openssl");
  }
  const bool structured = options.format == "junit" || options.format == "html";
  if (options.list && structured) return usage("--list: give --format table or json with it");
  if (options.openssl && options.format != "table") {
    return usage("--openssl: it is printed as text only; leave out --format");
  }
  const auto scenarios = select(options.patterns);
  if (!scenarios) return kExitUsage;

  Output output;
  if (const int status = output.open(options.output); status != kExitOk) return status;
  if (options.openssl) return output.write(about_openssl(options.seed));
  if (options.list) {
    return output.write(options.format == "json" ? list_as_json(*scenarios)
                                                 : list_as_text(*scenarios));
  }
  const stale::Report report = run_all(options, *scenarios);
  if (const int status = output.write(as_text(report, options)); status != kExitOk) return status;
  if (report.as_expected()) return kExitOk;
  say_what_failed(report, options);
  return kExitFailure;
}

// --- The command line ---------------------------------------------------------------------------

std::vector<std::string> isolation_names() {
  std::vector<std::string> names;
  names.reserve(kIsolations.size());
  for (const Isolation each : kIsolations) names.emplace_back(name_of(each));
  return names;
}

void add_report_options(const Command& command, StaleOptions& options) {
  command
      .add_option("--format", options.format,
                  "junit is XML for CI systems, html one page to look at")
      ->words({"table", "json", "junit", "html"})
      ->capture_default_str();
  command.add_option("-o,--output", options.output, "Write the report there")->type_name("FILE");
  command.add_option("--color", options.colour, "Whether the table has colours")
      ->words({"auto", "always", "never"})
      ->capture_default_str();
  command.add_flag("-v,--verbose", options.verbose,
                   "Explain every failure in the table, not a few");
}

}  // namespace

void add_stale(Command& app, std::function<int()>& action) {
  const auto options = std::make_shared<StaleOptions>();
  const Command command = app.add_subcommand(
      "stale", "Play the stale-error bug in every combination; show who survives it.");
  command.footer(
      "A scenario is LEAKER/VICTIM@SWITCH-POINT: a real OpenSSL call that leaves an entry in the\n"
      "thread's error queue, whom it meets, and when. It succeeds if `isolated` is right in all "
      "of\n"
      "them, and `shared` shows the bug wherever this OpenSSL has it.\n\n" +
      app.get_footer());
  command
      .add_option("--scenario", options->patterns,
                  "Play only those that match, such as 'pem-junk/*' or '*/read@*'; repeatable")
      ->type_name("PATTERN")
      ->one_at_a_time();
  command.add_option("--policy", options->policies, "Play only under this policy; repeatable")
      ->words(isolation_names())
      ->one_at_a_time();
  command
      .add_option("--stack", options->stack,
                  "openssl: plain OpenSSL calls without care, as many programs make them")
      ->words({"heddle", "openssl"})
      ->capture_default_str();
  command
      .add_option("--seed", options->seed, "Decides sizes, order and protocol versions")
      // Else -1 would be read as a very large number.
      ->hidden_not_negative()
      ->type_name("NUMBER")
      ->capture_default_str();
  add_report_options(command, *options);
  const Option list = command.add_flag("--list", options->list,
                                       "Show what there is to play, as a table or as JSON");
  command.add_flag("--openssl", options->openssl, "Show what OpenSSL this is, and what it does")
      ->excludes(list);
  command.callback([options, &action] { action = [options] { return run_stale(*options); }; });
}

}  // namespace heddle::cli
