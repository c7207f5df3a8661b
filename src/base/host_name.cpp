// Judging host names.
#include "base/host_name.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

namespace heddle {
namespace {

constexpr std::size_t kNameBytesMax = 253;  // 255 in a DNS message (RFC 1035, section 2.3.4).
constexpr std::size_t kLabelBytesMax = 63;

Error invalid(const char* detail) {
  return {.code = Errc::kInvalid, .operation = "parse a host name", .detail = detail};
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_of_a_name(char c) {
  return is_letter(c) || is_digit(c) || c == '-' || c == '_' || c == '.';
}

// What an interface may be called, and nothing that matters in a URL or a log.
bool is_zone(std::string_view zone) {
  return !zone.empty() && std::all_of(zone.begin(), zone.end(), is_of_a_name);
}

// Nothing if `text` is no address.
Host parse_address(std::string_view text) {
  Host host;
  const std::size_t percent = text.find('%');
  const std::string address(text.substr(0, percent));
  std::array<char, INET6_ADDRSTRLEN> shown{};
  in6_addr binary{};
  const int family = address.find(':') != std::string::npos ? AF_INET6 : AF_INET;
  if (::inet_pton(family, address.c_str(), &binary) != 1) return host;
  if (percent != std::string_view::npos) {
    const std::string_view zone = text.substr(percent + 1);
    if (family == AF_INET || !is_zone(zone)) return host;
    host.zone = zone;
  }
  host.name = ::inet_ntop(family, &binary, shown.data(), shown.size());
  host.bytes_of_address = family == AF_INET6 ? sizeof(in6_addr) : sizeof(in_addr);
  return host;
}

const char* objection(std::string_view name) {
  if (std::any_of(name.begin(), name.end(), [](char c) { return (c & 0x80) != 0; })) {
    return "not ASCII, write it in its xn-- form";
  }
  if (name.starts_with('[')) return "an IPv6 address goes without brackets here";
  if (name.find(':') != std::string_view::npos) return "no port belongs to it";
  if (!std::all_of(name.begin(), name.end(), is_of_a_name)) {
    return "only letters, digits, '-', '_' and '.' belong to it";
  }
  if (name.size() > kNameBytesMax) return "longer than 253 bytes";
  std::string_view label;
  for (std::string_view rest = name;; rest.remove_prefix(label.size() + 1)) {
    label = rest.substr(0, rest.find('.'));
    if (label.empty()) return "an empty label";
    if (label.size() > kLabelBytesMax) return "a label longer than 63 bytes";
    if (label.size() == rest.size()) break;
  }
  // The last one. "127.1" and "0x7f000001" are addresses to inet_aton(3).
  const bool is_hexadecimal = label.starts_with("0x") || label.starts_with("0X");
  if (is_hexadecimal || std::all_of(label.begin(), label.end(), is_digit)) {
    return "neither a name nor an IP address";
  }
  return nullptr;
}

}  // namespace

Result<Host> Host::parse(std::string_view text) {
  if (text.empty()) return invalid("it is empty");
  // inet_pton() would stop there.
  if (text.find('\0') != std::string_view::npos) return invalid("a NUL in it");
  Host host = parse_address(text);
  if (host.is_address()) return host;
  if (text.ends_with('.')) text.remove_suffix(1);
  if (const char* const why = objection(text)) return invalid(why);
  host.name = text;
  for (char& c : host.name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return host;
}

}  // namespace heddle
