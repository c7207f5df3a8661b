// What every command needs of its process: exit statuses, one-line errors, descriptors.
#pragma once

#include <cstddef>
#include <string_view>

namespace heddle::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;  // At run time: the network, the peer, the machine.
inline constexpr int kExitUsage = 2;    // A wrong command line, or a file that cannot be used.

// Prints `heddle COMMAND: MESSAGE` as one line on standard error, whatever is in `message`.
// An empty `command` means `heddle` itself.
void print_error(std::string_view command, std::string_view message);

// Raises the soft limit of open descriptors to the hard one, and returns what is now allowed.
std::size_t raise_descriptor_limit();

}  // namespace heddle::cli
