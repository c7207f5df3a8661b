// Parts of the guard's JSON lines, in words.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "cli/guard_symbols.h"

namespace heddle::cli {

// A member that is a text, made printable: other users' processes may have written it, and it goes
// to a terminal. "" if it is not there.
std::string text_of(const nlohmann::json& object, const char* name);

std::string describe_spot(const nlohmann::json& spot, Symbols& symbols);
std::string describe_entry(const nlohmann::json& entry);
std::string describe_connection(const nlohmann::json& connection);

// Where in Python: the innermost line of the program's own, and by way of which library's. "" if
// the stack is empty.
std::string describe_python(const nlohmann::json& stack);

// Who left the first entry of a "dirty" event.
std::string describe_leaker(const nlohmann::json& event, Symbols& symbols);

// The greenlet that an entry's origin was in; "" if it is not known to have been in one.
std::string describe_greenlet(const nlohmann::json& origin);

// Who makes the call of a "dirty" event.
std::string describe_victim(const nlohmann::json& event, Symbols& symbols);

}  // namespace heddle::cli
