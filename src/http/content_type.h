// Content types by a file name's suffix.
#pragma once

#include <string_view>

namespace heddle::http {

// Never empty; "application/octet-stream" for what is not known. Static text.
std::string_view content_type(std::string_view path) noexcept;

}  // namespace heddle::http
