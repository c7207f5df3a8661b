// Root: a folder, and the kernel's word that nothing outside of it is opened.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>

#include "heddle/result.h"

#include "base/unique_fd.h"

namespace heddle::http {

// How names are resolved.
enum class Lookup : std::uint8_t {
  // openat2(2): the kernel refuses whatever would leave the folder, at any moment
  // of the lookup: "..", absolute links, links that point outside, /proc's magic
  // links. Relative links that stay inside work.
  kBeneath,
  // Where there is no openat2(), because the kernel is older than 5.6 or a
  // container's filter refuses it: name by name, and no links and no ".." at all.
  kStepwise,
};

// Root opens files below a folder.
//
// Threads:  any, at the same time.
class Root {
 public:
  // Fails with kInvalid if `folder` cannot be opened. The second form is for tests.
  static Result<Root> create(const std::filesystem::path& folder);
  static Result<Root> create(const std::filesystem::path& folder, Lookup lookup);

  // Opens `path`, relative to the folder and encoded in no way, for reading. It never
  // hangs on a FIFO. Fails with kExhausted when there are no descriptors, else with
  // kInvalid; `Error::sys_errno` says why, EXDEV or ELOOP for what would lead outside.
  // Precondition: `path` is not empty and does not begin with a slash.
  Result<UniqueFd> open(const char* path) const;

  // Whether `path` leads to something now; says what (fstatat(2)). Follows all links, whatever
  // lookup() is, also to what lies outside. Precondition: as above.
  bool look_up(const char* path, struct stat& status) const noexcept;

  Lookup lookup() const noexcept { return lookup_; }

 private:
  Root(UniqueFd folder, Lookup lookup) noexcept : folder_(std::move(folder)), lookup_(lookup) {}

  UniqueFd folder_;
  Lookup lookup_;
};

}  // namespace heddle::http
