// Manual pages out of what the command line accepts.
#pragma once

#include <string>

#include "cli/command_help.h"

namespace heddle::cli {

// Returns the page of `program`, or that of its subcommand `command`, for man(1) (roff, macros of
// man(7)). `version` is shown in the page's foot.
std::string manual_page(const CommandHelp& program, const CommandHelp& command,
                        const std::string& version);

}  // namespace heddle::cli
