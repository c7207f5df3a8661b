// Takes URLs apart, as far as a load generator needs it.
#include "cli/load_url.h"

#include <algorithm>

namespace heddle::cli {
namespace {

constexpr std::string_view kScheme = "https://";
constexpr std::uint16_t kHttps = 443;

// What a request line can hold: the rest has to be percent-encoded (RFC 9112, 3.2).
bool is_target(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

bool has_port(std::string_view authority) {
  const std::size_t colon = authority.rfind(':');
  return colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos;
}

}  // namespace

std::optional<LoadUrl> parse_load_url(std::string_view text) {
  if (text.starts_with("unix:")) {
    std::optional<Endpoint> endpoint = parse_endpoint(text);
    if (!endpoint) return std::nullopt;
    return LoadUrl{.endpoint = *std::move(endpoint), .host = "localhost", .target = "/"};
  }
  const bool is_url = text.starts_with(kScheme);
  if (is_url) text.remove_prefix(kScheme.size());
  const std::size_t path = std::min(text.find_first_of("/?"), text.size());
  std::string authority(text.substr(0, path));
  text.remove_prefix(path);
  std::string target(text.starts_with('/') ? "" : "/");
  target.append(text);
  if (!is_target(target)) return std::nullopt;
  if (is_url && !has_port(authority)) authority.append(":").append(std::to_string(kHttps));
  std::optional<Endpoint> endpoint = parse_endpoint(authority);
  if (!endpoint) return std::nullopt;
  if (endpoint->port == kHttps) authority.resize(authority.rfind(':'));
  return LoadUrl{
      .endpoint = *std::move(endpoint), .host = std::move(authority), .target = std::move(target)};
}

}  // namespace heddle::cli
