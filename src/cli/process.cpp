// Exit statuses, one-line errors and the descriptor limit: see process.h.
#include "cli/process.h"

#include <sys/resource.h>

#include <cstdio>
#include <limits>
#include <string>

#include <fmt/core.h>

namespace heddle::cli {

void print_error(std::string_view command, std::string_view message) {
  std::string line(message);
  for (char& character : line) {
    if (character == '\n' || character == '\r') character = ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  fmt::print(stderr, "heddle{}{}: {}\n", command.empty() ? "" : " ", command, line);
}

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlimit raised{.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  if (limit.rlim_cur == RLIM_INFINITY) return std::numeric_limits<std::size_t>::max();
  return static_cast<std::size_t>(limit.rlim_cur);
}

}  // namespace heddle::cli
