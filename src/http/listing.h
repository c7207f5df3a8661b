// The page that lists a folder without an index.html.
#pragma once

#include <string>
#include <string_view>

#include "heddle/result.h"

#include "base/unique_fd.h"

namespace heddle::http {

// Makes the page for the open folder `folder`, whose name is `title`. Fails with
// kExhausted or kInvalid. Never parks, and reads at most some thousands of names.
Result<std::string> list_folder(UniqueFd folder, std::string_view title);

}  // namespace heddle::http
