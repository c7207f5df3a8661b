// What every command needs of its process: exit statuses, one-line errors, descriptors, SIGPIPE.
#pragma once

#include <cstddef>
#include <string_view>

namespace heddle::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;  // At run time: the network, the peer, the machine.
inline constexpr int kExitUsage = 2;    // A wrong command line, or a file that cannot be used.

// Makes a process that can rely on its standard descriptors and on write() returning: opens what
// the caller had closed, which a socket would take the place of otherwise, and ignores SIGPIPE.
void prepare_process();

// Writes `text` to standard error. If nobody can read it there, it is lost: no reason to fail.
void say(std::string_view text);

// Prints `heddle COMMAND: MESSAGE` as one line on standard error, whatever is in `message`.
// An empty `command` means `heddle` itself.
void print_error(std::string_view command, std::string_view message);

// Writes `text` to standard output, all of it, for a command whose result that is. Returns the exit
// status: it has printed an error if that failed.
int print_out(std::string_view command, std::string_view text);

// Raises the soft limit of open descriptors to the hard one, and returns what is now allowed.
std::size_t raise_descriptor_limit();

}  // namespace heddle::cli
