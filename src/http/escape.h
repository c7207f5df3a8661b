// Names in URLs and in HTML: percent-encoding and character references.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace heddle::http {

enum class Decoding : std::uint8_t {
  kOk,
  kMalformed,     // A percent sign without two digits, or a zero byte.
  kEncodedSlash,  // "%2F" is data, and no file's name holds a slash: nothing has such a name.
  kTooLong,
};

// Takes the first character off `encoded`, decoded if a percent sign says so (RFC 3986, section
// 2.1). Nothing if two digits do not follow the sign. Precondition: `encoded` is not empty.
std::optional<char> take_decoded(std::string_view& encoded);

// Decodes the path `encoded` into `decoded`, ends it with a zero byte, and sets `size` to
// its length without that.
Decoding percent_decode(std::string_view encoded, std::span<char> decoded, std::size_t& size);

// Appends `path` so that it may stand in a URL: all but unreserved characters and
// the slash are encoded.
void append_percent_encoded(std::string& to, std::string_view path);

// Appends `text` so that it may stand in HTML text or in a quoted attribute.
void append_html(std::string& to, std::string_view text);

}  // namespace heddle::http
