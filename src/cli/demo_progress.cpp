// Draws the progress bar with the three control sequences that every terminal knows.
#include "cli/demo_progress.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>

#include <fmt/core.h>
#include <unistd.h>

#include "cli/process.h"

namespace heddle::cli {
namespace {

constexpr std::size_t kBarWidth = 24;

bool is_terminal(int descriptor) {
  const char* const kind = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): nobody sets it.
  return isatty(descriptor) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

}  // namespace

bool wants_colour(int descriptor) {
  const char* const refused = std::getenv("NO_COLOR");  // NOLINT(concurrency-mt-unsafe): as above.
  return is_terminal(descriptor) && (refused == nullptr || *refused == '\0');
}

Progress::Progress()
    : terminal_(is_terminal(STDERR_FILENO)), colour_(wants_colour(STDERR_FILENO)) {}

void Progress::begin(std::string_view stage) {
  stage_ = stage;
  if (!terminal_) say(stage_ + "\n");
  update(0, "");
}

void Progress::update(double fraction, std::string_view detail) {
  if (!terminal_) return;
  const double share = std::clamp(fraction, 0.0, 1.0);
  const auto full = static_cast<std::size_t>(share * static_cast<double>(kBarWidth));
  say(fmt::format("\r\033[K{}[{:#<{}}{:.<{}}]{} {:3.0f} % {}  {}", colour_ ? "\033[36m" : "", "",
                  full, "", kBarWidth - full, colour_ ? "\033[0m" : "", share * 100, stage_,
                  detail));
}

void Progress::finish() {
  if (terminal_ && !stage_.empty()) say("\r\033[K");
  stage_.clear();
}

}  // namespace heddle::cli
