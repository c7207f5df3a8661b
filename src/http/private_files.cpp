// Recognizing files that must not be served: see private_files.h.
#include "http/private_files.h"

#include <algorithm>
#include <utility>

namespace heddle::http {

PrivateFiles::PrivateFiles(std::vector<std::filesystem::path> paths) {
  for (std::filesystem::path& path : paths) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) continue;
    files_.push_back({std::move(path), status.st_dev, status.st_ino});
  }
}

bool PrivateFiles::contain(const struct stat& status, std::string_view name) const noexcept {
  return std::ranges::any_of(files_, [&](const File& file) {
    if (status.st_dev == file.device && status.st_ino == file.inode) return true;
    const std::string_view path = file.path.native();
    const std::string_view last = path.substr(path.rfind('/') + 1);
    if (name.substr(name.rfind('/') + 1) != last) return false;
    struct stat current {};  // It may be another one by now: renewed.
    return ::stat(file.path.c_str(), &current) == 0 && status.st_dev == current.st_dev &&
           status.st_ino == current.st_ino;
  });
}

}  // namespace heddle::http
