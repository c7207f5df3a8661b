// PrivateFiles: what a site must not give away wherever it finds it, such as the server's own key.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <string_view>
#include <vector>

namespace heddle::http {

// PrivateFiles knows files by what they are, so that neither a link nor another name helps, and by
// name, in case they were replaced meanwhile.
//
// Threads:  any, at the same time.
class PrivateFiles {
 public:
  PrivateFiles() = default;
  explicit PrivateFiles(std::vector<std::filesystem::path> paths);

  // Whether the file that was opened as `name` is one of them. `status` is the open file's.
  bool contain(const struct stat& status, std::string_view name) const noexcept;

 private:
  struct File {
    std::filesystem::path path;
    dev_t device;
    ino_t inode;
  };

  std::vector<File> files_;
};

}  // namespace heddle::http
