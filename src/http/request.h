// Request: what a client asked for, as far as a file server needs to know.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace heddle::http {

enum class Method : std::uint8_t {
  kGet,
  kHead,
  kOther,    // Defined somewhere, and not for files.
  kUnknown,  // Of no specification that we know of.
};

// Request is a view of a request's head. Fields that were not sent are empty.
struct Request {
  Method method = Method::kUnknown;
  std::string_view method_name;
  std::string_view target;
  bool http_1_1 = false;
  bool keep_alive = false;  // What the client wants, by its version and Connection field.

  // Sent more than once, the first two are joined by a comma.
  std::string_view if_match;
  std::string_view if_none_match;
  std::string_view if_modified_since;
  std::string_view if_unmodified_since;
  std::string_view if_range;
  std::string_view range;
};

// A request target without what names a server. Both parts are still encoded.
struct Target {
  std::string_view path;   // Begins with a slash.
  std::string_view query;  // With its question mark, or empty.
};

// Takes apart "/path?query" and "https://host/path?query" (RFC 9112, 3.2). Returns
// nothing for the other forms, which make no sense for a file, and for fragments.
std::optional<Target> split_target(std::string_view target) noexcept;

}  // namespace heddle::http
