// What every command needs of its process: see process.h.
#include "cli/process.h"

#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <limits>
#include <string>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

namespace heddle::cli {

void prepare_process() {
  int descriptor = 0;
  do {
    descriptor = open("/dev/null", O_RDWR);
  } while (descriptor >= 0 && descriptor <= STDERR_FILENO);
  if (descriptor >= 0) close(descriptor);
  (void)std::signal(SIGPIPE, SIG_IGN);
}

void say(std::string_view text) {
  (void)std::fwrite(text.data(), 1, text.size(), stderr);
}

void print_error(std::string_view command, std::string_view message) {
  std::string line(message);
  for (char& character : line) {
    if (character == '\n' || character == '\r') character = ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  say(fmt::format("heddle{}{}: {}\n", command.empty() ? "" : " ", command, line));
}

int print_out(std::string_view command, std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return kExitOk;
  print_error(command, "cannot write to standard output");
  return kExitFailure;
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
