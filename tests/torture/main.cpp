// torture [--seed N] [--seconds S] [--connections N] [--patience S] [--threads]
//
// Many random connections at once, with all that may go wrong, each byte accounted for. Exits with
// 1 after a fault, which it prints with the seed. The seed determines what every fiber does, but
// not in which order the kernel answers: repeat it a few times.
#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

#include "torture/run.h"

namespace heddle::torture {
namespace {

constexpr const char* kUsage =
    "usage: torture [--seed N] [--seconds S] [--connections N] [--patience S] [--threads]\n";

template <typename Number>
bool parse(std::string_view text, Number& into) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, into);
  return error == std::errc() && stop == end && into >= 0;
}

std::optional<Options> parse_options(std::span<char*> arguments) {
  Options options;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view name = arguments[i];
    if (name == "--threads") {
      options.threads = true;
      continue;
    }
    if (++i == arguments.size()) return std::nullopt;
    const std::string_view value = arguments[i];
    const bool known = (name == "--seed" && parse(value, options.seed)) ||
                       (name == "--seconds" && parse(value, options.seconds)) ||
                       (name == "--connections" && parse(value, options.connections)) ||
                       (name == "--patience" && parse(value, options.patience));
    if (!known) return std::nullopt;
  }
  return options;
}

int torture(const Options& options) {
  Report report(options.seed);
  const auto pool = std::make_shared<OffloadPool>(OffloadPool::create({.threads = 2}).value());
  Shared shared(report, pool);
  Run run(options, shared);
  if (options.threads) {
    run.several_threads();
  } else {
    run.one_runtime();
  }
  report.print();
  return report.faults() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace heddle::torture

int main(int argc, char** argv) {
  const auto options =
      heddle::torture::parse_options(std::span(argv, static_cast<std::size_t>(argc)));
  if (!options) {
    std::fputs(heddle::torture::kUsage, stderr);
    return 2;
  }
  return heddle::torture::torture(*options);
}
