// Runs a command as if the user had: see guard_command.h.
#include "cli/guard_command.h"

#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <system_error>

#include <fmt/core.h>
#include <spawn.h>
#include <unistd.h>

namespace heddle::cli {
namespace {

constexpr int kExitNotExecutable = 126;
constexpr int kExitNotFound = 127;
constexpr int kExitSignal = 128;

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (std::string& string : strings) result.push_back(string.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> changed_environment(const std::vector<std::string>& changes) {
  std::vector<std::string> result = changes;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string kept = *entry;
    const std::string name = kept.substr(0, kept.find('=') + 1);
    bool replaced = false;
    for (const std::string& change : changes) replaced = replaced || change.starts_with(name);
    if (!replaced) result.push_back(kept);
  }
  return result;
}

// What ends or controls a command when it is sent to us instead.
sigset_t forwarded_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) {
    sigaddset(&signals, signal);
  }
  return signals;
}

// Returns 0, or the error of execve().
int spawn(std::vector<std::string> command, const std::vector<std::string>& changes,
          const sigset_t& mask, pid_t& child) {
  posix_spawnattr_t attributes;
  if (const int error = posix_spawnattr_init(&attributes); error != 0) return error;
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);  // prepare_process() ignores it, which execve() would hand down.
  (void)posix_spawnattr_setsigdefault(&attributes, &defaults);
  (void)posix_spawnattr_setsigmask(&attributes, &mask);
  (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  std::vector<std::string> environment = changed_environment(changes);
  const int error = posix_spawnp(&child, command.front().c_str(), nullptr, &attributes,
                                 pointers(command).data(), pointers(environment).data());
  (void)posix_spawnattr_destroy(&attributes);
  return error;
}

// A key such as Ctrl-C sends its signal to the whole foreground group: the command has it already.
bool came_from_terminal(const siginfo_t& info) {
  return info.si_code == SI_KERNEL;
}

int await(pid_t child, const sigset_t& signals) {
  while (true) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) {
      return WIFSIGNALED(status) ? kExitSignal + WTERMSIG(status) : WEXITSTATUS(status);
    }
    siginfo_t info{};
    const int signal = sigwaitinfo(&signals, &info);
    if (signal > 0 && signal != SIGCHLD && !came_from_terminal(info)) (void)kill(child, signal);
  }
}

}  // namespace

CommandEnd run_command(const std::vector<std::string>& command,
                       const std::vector<std::string>& changes) {
  sigset_t signals = forwarded_signals();
  sigaddset(&signals, SIGCHLD);
  sigset_t before;
  (void)pthread_sigmask(SIG_BLOCK, &signals, &before);
  // Ignored, it would never be pending, and the command's end would go unnoticed.
  (void)std::signal(SIGCHLD, SIG_DFL);
  pid_t child = 0;
  const int error = spawn(command, changes, before, child);
  if (error != 0) {
    return {
        .status = error == ENOENT ? kExitNotFound : kExitNotExecutable,
        .message = fmt::format("{}: {}", command.front(), std::generic_category().message(error))};
  }
  return {.started = true, .status = await(child, signals), .message = ""};
}

}  // namespace heddle::cli
