// SSLKEYLOGFILE: see key_log.h.
#include "cli/key_log.h"

#include <cstdlib>
#include <string>

#include <fmt/core.h>

#include "cli/process.h"

namespace heddle::cli {

int use_key_log(Context& context, std::string_view command, Told told) {
  const char* const file = ::secure_getenv("SSLKEYLOGFILE");
  if (file == nullptr || *file == '\0') return kExitOk;
  if (const Result<void> set = context.set_key_log_file(file); !set) {
    print_error(command, fmt::format("SSLKEYLOGFILE={}: {}", file, set.error().message()));
    return kExitUsage;
  }
  if (told == Told::kYes) {
    print_error(
        command,
        fmt::format("warning: SSLKEYLOGFILE is set; who reads {} can read what is sent", file));
  }
  return kExitOk;
}

}  // namespace heddle::cli
