// Site: the files below a folder, as answers to requests.
#pragma once

#include <cstdint>
#include <span>

#include "http/listing.h"
#include "http/open_files.h"
#include "http/private_files.h"
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
  explicit Site(Root root, PrivateFiles never_served = {}) noexcept
      : root_(std::move(root)), private_(std::move(never_served)) {}

  // Decides on the answer. `scratch` is used during the call; what fits into it
  // bounds the length of a path. `now` in seconds since 1970.
  Response answer(const Request& request, std::span<char> scratch, std::int64_t now) const;

  // Closes files that are kept open and were not asked for lately. Call it every second or so.
  void close_idle_files(std::int64_t now) const { files_.close_idle(now); }

 private:
  Response answer_path(const Request& request, const Target& target, std::span<char> scratch,
                       std::int64_t now) const;
  Response answer_folder(const Request& request, std::string_view path, std::int64_t now) const;
  Response answer_file(const Request& request, OpenFile file, const struct stat& status,
                       std::string_view path, std::int64_t now) const;

  Root root_;
  PrivateFiles private_;
  mutable Listings listings_;
  mutable OpenFiles files_;
};

}  // namespace heddle::http
