// OpenFiles: descriptors of the files that were asked for last.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "heddle/result.h"

#include "base/unique_fd.h"
#include "http/root.h"

namespace heddle::http {

// A file that is open for one answer, or for several at the same time.
class OpenFile {
 public:
  OpenFile() = default;
  explicit OpenFile(UniqueFd own) noexcept : own_(std::move(own)) {}
  explicit OpenFile(std::shared_ptr<const UniqueFd> shared) noexcept : shared_(std::move(shared)) {}

  explicit operator bool() const noexcept { return shared_ || own_; }
  int get() const noexcept { return shared_ ? shared_->get() : own_.get(); }

 private:
  UniqueFd own_;
  std::shared_ptr<const UniqueFd> shared_;
};

// OpenFiles keeps files open, so that an answer costs a lookup instead of an openat2(), an fstat()
// and a close(). Of a file it keeps the descriptor, never the content.
//
// Every get() looks the name up (fstatat(2)). A kept descriptor is used only if the name still
// leads to that file, and neither its content nor its rights have changed since it was opened: what
// a client is sent is never older than its request. The file cannot be mistaken for another one,
// since its inode is in use. Whether the name leads outside of the folder is asked when the file is
// opened: if it does so later, but to the very same file, that is still served.
//
// A file that was deleted keeps its place on the disk while it is kept: see close_idle().
//
// Threads:  any, at the same time.
class OpenFiles {
 public:
  static constexpr std::size_t kFilesMax = 64;
  static constexpr std::size_t kPathBytesMax = 256;  // Longer ones are not kept.
  static constexpr std::int64_t kIdleSeconds = 5;

  // Keeps kFilesMax, or a sixteenth of the descriptors that the process may have.
  OpenFiles();
  explicit OpenFiles(std::size_t files_max) noexcept : files_max_(files_max) {}

  // As Root::open(), and says what was opened (fstat(2)). `now` in seconds.
  Result<OpenFile> get(const Root& root, const char* path, struct stat& status, std::int64_t now);

  // Closes what nobody has asked for in the last kIdleSeconds. Call it every second or so.
  void close_idle(std::int64_t now);

 private:
  struct Entry {
    std::shared_ptr<const UniqueFd> file;
    struct stat opened {};
    std::int64_t used = 0;
  };
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  using Entries = std::unordered_map<std::string, Entry, Hash, std::equal_to<>>;

  std::shared_ptr<const UniqueFd> find(std::string_view path, const struct stat& now_there,
                                       std::int64_t now);
  OpenFile keep(std::string_view path, UniqueFd file, const struct stat& status, std::int64_t now);
  void close_all();
  bool make_room(std::int64_t now);

  std::size_t files_max_;
  std::mutex mutex_;  // Protects what follows.
  Entries entries_;
};

}  // namespace heddle::http
