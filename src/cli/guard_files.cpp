// The log and the tally: see guard_files.h.
#include "cli/guard_files.h"

#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

namespace heddle::cli {
namespace {

constexpr mode_t kPrivate = 0600;

std::string words_of(int error) {
  if (error == ELOOP) return "is a symbolic link, which is not followed";
  return std::generic_category().message(error);
}

// "" if nobody else can have put the file there. A device is the administrator's, whoever may use
// it.
std::string doubt_about(int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) return words_of(errno);
  if (S_ISCHR(status.st_mode)) return "";
  if (status.st_uid != geteuid() && status.st_uid != 0) return "belongs to another user";
  if (S_ISREG(status.st_mode) && status.st_nlink != 1) return "has a second name, by a hard link";
  return "";
}

}  // namespace

LogFile open_log(const std::string& path) {
  // A FIFO that nobody reads must not block.
  constexpr int kFlags =
      O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  UniqueFd descriptor(open(path.c_str(), kFlags, kPrivate));
  if (!descriptor) return {.descriptor = {}, .error = words_of(errno)};
  if (std::string doubt = doubt_about(descriptor.get()); !doubt.empty()) {
    return {.descriptor = {}, .error = std::move(doubt)};
  }
  return {.descriptor = std::move(descriptor), .error = ""};
}

TallyFile::TallyFile() {
  std::error_code error;
  std::string pattern = std::filesystem::temp_directory_path(error) / "heddle-guard-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) return;  // With mode 0700.
  folder_ = pattern;
  constexpr int kFlags = O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  descriptor_ = UniqueFd(open(path().c_str(), kFlags, kPrivate));
}

TallyFile::~TallyFile() {
  std::error_code error;
  if (!folder_.empty()) std::filesystem::remove_all(folder_, error);
}

void TallyFile::for_each_line(const std::function<void(std::string_view)>& take) const {
  std::array<char, 65536> room{};
  std::string rest;  // The line that is not complete yet.
  off_t offset = 0;
  ssize_t count = 0;
  while ((count = pread(descriptor_.get(), room.data(), room.size(), offset)) > 0) {
    offset += count;
    rest.append(room.data(), static_cast<std::size_t>(count));
    std::size_t start = 0;
    for (std::size_t end = 0; (end = rest.find('\n', start)) != std::string::npos;) {
      take(std::string_view(rest).substr(start, end - start));
      start = end + 1;
    }
    rest.erase(0, start);
  }
}

UniqueFd inheritable(int descriptor) {
  if (descriptor < 0) return {};
  // Far from the numbers that programs expect to get, or expect to be given.
  constexpr int kFar = 500;
  const int far = fcntl(descriptor, F_DUPFD, kFar);
  return UniqueFd(far >= 0 ? far : fcntl(descriptor, F_DUPFD, 3));
}

std::string name_of_inherited(const UniqueFd& descriptor) {
  struct stat status {};
  if (!descriptor || fstat(descriptor.get(), &status) != 0) return "";
  return fmt::format("{}:{}:{}", descriptor.get(), status.st_dev, status.st_ino);
}

}  // namespace heddle::cli
