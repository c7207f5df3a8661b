// A running `heddle serve`, seen from outside.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "heddle/address.h"

namespace heddle::test {

class ServerProcess {
 public:
  // Starts the program that $HEDDLE_PROGRAM names, on a port of its choice and with a
  // certificate of its own making, on a folder with the file "small". Throws
  // std::runtime_error if it does not come up.
  explicit ServerProcess(const std::vector<std::string>& options = {});
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess();

  const Address& address() const { return address_; }

  // Makes a file that it serves, under "/" and this name.
  void serve_file(const std::string& name, const std::string& content) const;
  std::string certificate_pem() const;

  std::size_t descriptors() const;
  std::size_t resident_kib() const;
  // What its first thread has used.
  std::uint64_t processor_nanoseconds() const;

 private:
  std::filesystem::path folder_;
  pid_t pid_ = -1;
  Address address_;
};

// Runs a program and returns its exit status and what it printed. Blocks the thread.
struct Finished {
  int status;
  std::string output;
};
Finished run_program(const std::vector<std::string>& command);

// Raises the soft limit of descriptors to the hard one, and returns it.
std::size_t raise_descriptor_limit();

}  // namespace heddle::test
