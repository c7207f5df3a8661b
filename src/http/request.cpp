// Taking request targets apart: see request.h.
#include "http/request.h"

#include <algorithm>
#include <cstddef>

namespace heddle::http {
namespace {

bool starts_with_ignoring_case(std::string_view text, std::string_view lower_prefix) noexcept {
  if (text.size() < lower_prefix.size()) return false;
  return std::ranges::equal(
      text.substr(0, lower_prefix.size()), lower_prefix, [](char have, char want) {
        return (have >= 'A' && have <= 'Z' ? static_cast<char>(have - 'A' + 'a') : have) == want;
      });
}

}  // namespace

std::optional<Target> split_target(std::string_view target) noexcept {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (!starts_with_ignoring_case(target, scheme)) continue;
    target.remove_prefix(scheme.size());
    const std::size_t authority = std::min(target.find_first_of("/?#"), target.size());
    if (authority == 0) return std::nullopt;
    target.remove_prefix(authority);
    if (target.empty() || target.front() == '?') return Target{.path = "/", .query = target};
    break;
  }
  if (target.empty() || target.front() != '/') return std::nullopt;
  if (target.find('#') != std::string_view::npos) return std::nullopt;
  const std::size_t path = std::min(target.find('?'), target.size());
  return Target{.path = target.substr(0, path), .query = target.substr(path)};
}

}  // namespace heddle::http
