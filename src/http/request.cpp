// Taking request targets apart: see request.h.
#include "http/request.h"

#include <algorithm>
#include <cstddef>

#include "http/text.h"

namespace heddle::http {
std::optional<Target> split_target(std::string_view target) noexcept {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (target.starts_with('/')) break;  // As nearly all of them do.
    if (!equals_ignoring_case(target.substr(0, scheme.size()), scheme)) continue;
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
