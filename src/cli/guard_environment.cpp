// What the environment of a watched command says: see guard_environment.h.
#include "cli/guard_environment.h"

#include <algorithm>
#include <array>

namespace heddle::cli {
namespace {

constexpr std::string_view kSeparators = " :";  // Of LD_PRELOAD: see ld.so(8).

// As gcc and clang name them: libasan.so.8, libclang_rt.asan-x86_64.so.
bool is_sanitizer(std::string_view path) {
  constexpr std::array<std::string_view, 6> kBeginnings = {
      "libasan.so", "libhwasan.so", "liblsan.so", "libtsan.so", "libubsan.so", "libclang_rt."};
  const std::string_view name = path.substr(path.rfind('/') + 1);  // npos + 1 is 0.
  return std::any_of(kBeginnings.begin(), kBeginnings.end(),
                     [&](std::string_view beginning) { return name.starts_with(beginning); });
}

}  // namespace

std::string with_library(std::string_view preloaded, std::string_view library) {
  std::size_t place = 0;  // Behind the last runtime.
  std::size_t start = 0;
  while (start < preloaded.size()) {
    const std::size_t end = std::min(preloaded.find_first_of(kSeparators, start), preloaded.size());
    if (is_sanitizer(preloaded.substr(start, end - start))) place = end;
    start = end + 1;
  }
  const std::string_view before = preloaded.substr(0, place);
  std::string_view after = preloaded.substr(place);
  if (!after.empty() && place > 0) after.remove_prefix(1);
  std::string list(before);
  for (const std::string_view part : {library, after}) {
    if (part.empty()) continue;
    if (!list.empty()) list += ':';
    list += part;
  }
  return list;
}

std::string with_any_order(std::string_view asan_options) {
  std::string options(asan_options);
  if (!options.empty()) options += ':';
  return options + "verify_asan_link_order=0";  // What comes later counts.
}

}  // namespace heddle::cli
