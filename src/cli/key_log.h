// SSLKEYLOGFILE: the file into which the environment wants the keys of connections.
#pragma once

#include <string_view>

#include "heddle/tls/context.h"

namespace heddle::cli {

enum class Told : bool { kNo, kYes };

// Appends the keys of all connections of `context` to the file that the environment variable
// SSLKEYLOGFILE names, as curl and browsers do; does nothing if there is none. Says so on standard
// error if `told`, and what is wrong with the file in any case. Returns an exit status. For a
// program that was started with other rights the variable counts as not set.
int use_key_log(Context& context, std::string_view command, Told told);

}  // namespace heddle::cli
