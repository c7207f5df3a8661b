// Files on disk that somebody may replace at any time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace heddle::watch {

// WatchedFiles notices that files have changed, however that is done: written to, renamed over,
// behind a symbolic link that is exchanged, or one that is exchanged along the path.
class WatchedFiles {
 public:
  explicit WatchedFiles(std::vector<std::filesystem::path> files) : files_(std::move(files)) {}

  // Asks the kernel to tell of changes from now on. False if it does not: take a look from time to
  // time then.
  bool arm();
  // Readable when something has changed where the files are; -1 if arm() has failed.
  int descriptor() const noexcept { return notify_.get(); }
  // Takes what the kernel has told, and forgets it.
  void drain() noexcept;

  // Whether the files are others than at the last call; true for the first.
  bool have_changed();

 private:
  // What is another when a file is.
  struct Stamp {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t size = -1;  // There is none.
    std::int64_t changed_s = 0;
    std::int64_t changed_ns = 0;

    bool operator==(const Stamp&) const = default;
  };

  static Stamp stamp_of(const std::filesystem::path& file) noexcept;

  std::vector<std::filesystem::path> files_;
  std::vector<Stamp> stamps_;
  UniqueFd notify_;
};

}  // namespace heddle::watch
