// Percent-encoding and HTML escapes: see escape.h.
#include "http/escape.h"

#include "http/text.h"

namespace heddle::http {
namespace {

bool stays_as_it_is(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
         c == '.' || c == '_' || c == '~' || c == '/';
}

// What stands for `c` in HTML; refers to `c` or to static text.
std::string_view html_of(const char& c) noexcept {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    default:
      break;
  }
  // Control characters are not allowed in HTML, not even as references.
  const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  return control ? "\xEF\xBF\xBD" : std::string_view(&c, 1);
}

}  // namespace

std::optional<char> take_decoded(std::string_view& encoded) {
  if (encoded.front() != '%') {
    const char c = encoded.front();
    encoded.remove_prefix(1);
    return c;
  }
  if (encoded.size() < 3) return std::nullopt;
  const int high = hex_digit(encoded[1]);
  const int low = hex_digit(encoded[2]);
  if (high < 0 || low < 0) return std::nullopt;
  encoded.remove_prefix(3);
  return static_cast<char>(high * 16 + low);
}

Decoding percent_decode(std::string_view encoded, std::span<char> decoded, std::size_t& size) {
  size = 0;
  while (!encoded.empty()) {
    char c = encoded.front();
    if (c == '%') {
      const std::optional<char> byte = take_decoded(encoded);
      if (!byte) return Decoding::kMalformed;
      if (*byte == '/') return Decoding::kEncodedSlash;
      c = *byte;
    } else {
      encoded.remove_prefix(1);
    }
    if (c == '\0') return Decoding::kMalformed;
    if (size + 1 >= decoded.size()) return Decoding::kTooLong;
    decoded[size++] = c;
  }
  if (decoded.empty()) return Decoding::kTooLong;
  decoded[size] = '\0';
  return Decoding::kOk;
}

void append_percent_encoded(std::string& to, std::string_view path) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (const char c : path) {
    if (stays_as_it_is(c)) {
      to += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    to += '%';
    to += kDigits[byte >> 4U];
    to += kDigits[byte & 15U];
  }
}

void append_html(std::string& to, std::string_view text) {
  for (const char& c : text) to += html_of(c);
}

}  // namespace heddle::http
