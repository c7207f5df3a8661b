// Starting and observing processes.
#include "support/server_process.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include <fcntl.h>
#include <unistd.h>

#include "base/unique_fd.h"

namespace heddle::test {
namespace {

std::filesystem::path make_folder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "heddle-test-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
  return pattern;
}

// Starts `command` with its standard output in a pipe. Returns the pipe's other end. The process
// ends with the thread that calls this: posix_spawn() cannot say so.
UniqueFd start(const std::vector<std::string>& command, pid_t& pid) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  std::vector<char*> arguments;
  for (const std::string& each : command) arguments.push_back(const_cast<char*>(each.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  pid = ::fork();
  if (pid < 0) throw std::runtime_error("cannot start " + command[0]);
  if (pid == 0) {
    (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)std::signal(SIGPIPE, SIG_DFL);  // What a test ignores is inherited.
    if (::getppid() == parent && ::dup2(theirs.get(), STDOUT_FILENO) >= 0) {
      (void)::execvp(arguments[0], arguments.data());
    }
    ::_exit(127);
  }
  return ours;
}

std::string read_line(int fd) {
  std::string line;
  char byte = 0;
  while (::read(fd, &byte, 1) == 1 && byte != '\n') line += byte;
  return line;
}

}  // namespace

ServerProcess::ServerProcess(const std::vector<std::string>& options)
    : folder_(make_folder()), address_(Address::from_ip("127.0.0.1", 0).value()) {
  std::filesystem::create_directory(folder_ / "www");
  std::ofstream(folder_ / "www" / "small") << "Hello, world\n";
  const char* const program = std::getenv("HEDDLE_PROGRAM");
  if (program == nullptr) throw std::runtime_error("HEDDLE_PROGRAM is not set");
  std::vector<std::string> command = {
      program,       "serve",        (folder_ / "www").string(),     "--listen",
      "127.0.0.1:0", "--write-cert", (folder_ / "cert.pem").string()};
  command.insert(command.end(), options.begin(), options.end());
  const UniqueFd output = start(command, pid_);
  const std::string line = read_line(output.get());
  constexpr std::string_view kPrefix = "listening on https://";
  if (!line.starts_with(kPrefix)) throw std::runtime_error("heddle serve said: " + line);
  address_ = Address::parse(std::string_view(line).substr(kPrefix.size())).value();
  (void)read_line(output.get());  // The fingerprint; by now the certificate is written.
}

ServerProcess::~ServerProcess() {
  if (pid_ > 0) {
    (void)::kill(pid_, SIGKILL);
    (void)::waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void ServerProcess::serve_file(const std::string& name, const std::string& content) const {
  std::ofstream(folder_ / "www" / name) << content;
}

std::string ServerProcess::certificate_pem() const {
  std::ostringstream text;
  text << std::ifstream(folder_ / "cert.pem").rdbuf();
  return text.str();
}

std::size_t ServerProcess::descriptors() const {
  std::size_t count = 0;
  const std::filesystem::path open = "/proc/" + std::to_string(pid_) + "/fd";
  for (const auto& each : std::filesystem::directory_iterator(open)) {
    (void)each;
    ++count;
  }
  return count;
}

std::size_t ServerProcess::resident_kib() const {
  std::ifstream statm("/proc/" + std::to_string(pid_) + "/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) / 1024;
}

std::uint64_t ServerProcess::processor_nanoseconds() const {
  std::ifstream schedstat("/proc/" + std::to_string(pid_) + "/schedstat");
  std::uint64_t used = 0;
  schedstat >> used;
  return used;
}

Finished run_program(const std::vector<std::string>& command) {
  pid_t pid = -1;
  const UniqueFd output = start(command, pid);
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t count = 1; (count = ::read(output.get(), buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  int status = 0;
  (void)::waitpid(pid, &status, 0);
  return {status, text};
}

std::size_t raise_descriptor_limit() {
  rlimit limit{};
  (void)::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

}  // namespace heddle::test
