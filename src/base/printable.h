// Text of a peer's choice, made safe for terminals and logs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace heddle {

// Returns `text` with every byte escaped as \XX, in hexadecimal, that could deceive a reader:
// - control characters, U+0000 to U+001F and U+007F to U+009F: they move the cursor or end a line;
// - U+2028 and U+2029, which end a line or paragraph;
// - U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069: they change the direction of text,
//   so that what is shown is not what is compared (CVE-2021-42574);
// - bytes that are no UTF-8 (RFC 3629), overlong forms and surrogates included.
// The rest stays: UTF-8 is readable. Backslashes are not escaped.
//
// If the result would be longer than `bytes_max`, it ends there with "...", never inside a
// character or an escape.
std::string printable(std::string_view text, std::size_t bytes_max = std::string::npos);

}  // namespace heddle
