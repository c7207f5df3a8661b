// Site: the files below a folder, as answers to requests.
#pragma once

#include <span>

#include "http/request.h"
#include "http/response.h"
#include "http/root.h"

namespace heddle::http {

// Site answers GET and HEAD with files, indexes and listings.
//
// Fibers:   answer() does not park. It reads names and metadata through the file
//   system, and so takes as long as that does.
// Threads:  any, at the same time.
class Site {
 public:
  explicit Site(Root root) noexcept : root_(std::move(root)) {}

  // Decides on the answer. `scratch` is used during the call; what fits into it
  // bounds the length of a path.
  Response answer(const Request& request, std::span<char> scratch) const;

 private:
  Response answer_path(const Request& request, const Target& target, std::span<char> scratch) const;
  Response answer_folder(const Request& request, std::string_view path) const;

  Root root_;
};

}  // namespace heddle::http
