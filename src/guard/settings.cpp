// What the environment asks of the guard: see settings.h.
#include "guard/settings.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <string_view>

#include <limits.h>
#include <unistd.h>

#include "guard/sink.h"
#include "guard/text.h"

namespace heddle::guard {
namespace {

struct Settings {
  std::atomic<bool> read{false};
  Mode mode = Mode::kOff;
  Format format = Format::kText;
  bool provokes = false;
  std::uint64_t seed = 0;
  std::array<char, PATH_MAX> log{};
  std::array<char, PATH_MAX> tally{};
  Inherited log_inherited;
  Inherited tally_inherited;
};

constinit Settings settings{};

// The guard neither sets nor unsets variables, and reads them before the program starts.
std::string_view variable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? std::string_view() : std::string_view(value);
}

// Made absolute at once: the program may change its directory. "" if it does not fit.
void keep_path(std::array<char, PATH_MAX>& room, std::string_view path) {
  room.fill(0);
  Text text({room.data(), room.size() - 1});
  if (path.empty()) return;
  if (path.front() != '/') {
    std::array<char, PATH_MAX> folder{};
    if (getcwd(folder.data(), folder.size()) == nullptr) return;
    text << folder.data() << "/";
  }
  text << path;
  if (text.view().size() == room.size() - 1) room.fill(0);
}

// The number that `text` begins with, which is taken off together with one character behind it.
std::uint64_t take_number(std::string_view& text) {
  std::uint64_t number = 0;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    number = number * 10 + static_cast<std::uint64_t>(text.front() - '0');
    text.remove_prefix(1);
  }
  if (!text.empty()) text.remove_prefix(1);
  return number;
}

Inherited parse_inherited(std::string_view value) {
  if (value.empty()) return {};
  Inherited inherited;
  inherited.descriptor = static_cast<int>(take_number(value));
  inherited.device = take_number(value);
  inherited.inode = take_number(value);
  return inherited;
}

Mode parse_mode(std::string_view value) {
  if (value == "detect") return Mode::kDetect;
  return value == "cure" ? Mode::kCure : Mode::kOff;
}

// Other libraries' constructors may call before ours: then this comes first.
const Settings& get() {
  if (settings.read.load(std::memory_order_acquire)) return settings;
  settings.mode = parse_mode(variable("HEDDLE_GUARD"));
  settings.format = variable("HEDDLE_GUARD_FORMAT") == "json" ? Format::kJson : Format::kText;
  std::string_view seed = variable("HEDDLE_GUARD_PROVOKE");
  settings.provokes = !seed.empty();
  settings.seed = take_number(seed);
  keep_path(settings.log, variable("HEDDLE_GUARD_LOG"));
  keep_path(settings.tally, variable("HEDDLE_GUARD_TALLY"));
  settings.log_inherited = parse_inherited(variable("HEDDLE_GUARD_LOG_FD"));
  settings.tally_inherited = parse_inherited(variable("HEDDLE_GUARD_TALLY_FD"));
  settings.read.store(true, std::memory_order_release);
  return settings;
}

Destination destination(const std::array<char, PATH_MAX>& path, const Inherited& inherited) {
  if (path.front() == 0) return {};
  return {.path = path.data(), .inherited = inherited};
}

void complain(const char* name, std::string_view value, const char* known) {
  std::array<char, 512> room{};
  Text text(room);
  text << name << "=";
  text.printable(value) << " means nothing here; known are " << known;
  write_note(text.view());
}

}  // namespace

Mode mode() {
  return get().mode;
}

Format log_format() {
  return get().format;
}

bool is_to_provoke() {
  return get().provokes;
}

std::uint64_t provoke_seed() {
  return get().seed;
}

Destination log_file() {
  const Settings& known = get();
  return destination(known.log, known.log_inherited);
}

Destination tally_file() {
  const Settings& known = get();
  return destination(known.tally, known.tally_inherited);
}

void check_settings() {
  const std::string_view wanted = variable("HEDDLE_GUARD");
  if (!wanted.empty() && wanted != "off" && mode() == Mode::kOff) {
    complain("HEDDLE_GUARD", wanted, "off, detect, cure");
  }
  const std::string_view format = variable("HEDDLE_GUARD_FORMAT");
  if (!format.empty() && format != "text" && format != "json") {
    complain("HEDDLE_GUARD_FORMAT", format, "text, json");
  }
}

}  // namespace heddle::guard
