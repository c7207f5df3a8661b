// Noticing that files have changed: see watched_files.h.
#include "watch/watched_files.h"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <set>
#include <system_error>

#include <unistd.h>

namespace heddle::watch {
namespace {

// As many symbolic links as Linux follows (path_resolution(7)).
constexpr int kLinksMax = 40;

constexpr std::uint32_t kChanges = IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM |
                                   IN_DELETE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

using Folders = std::set<std::filesystem::path>;

// The folder of each link on the way to `folder`: Kubernetes' "tls.crt" is a link to
// "..data/tls.crt", and "..data" another one.
void add_links_on_the_way(Folders& all, std::filesystem::path folder) {
  std::error_code failed;
  for (; folder.has_relative_path(); folder = folder.parent_path()) {
    if (std::filesystem::is_symlink(folder, failed)) all.insert(folder.parent_path());
  }
}

// Those in which the file's name, or that of a link on the way to it, can be made to mean another.
void add_folders(Folders& all, const std::filesystem::path& file) {
  std::error_code failed;
  std::filesystem::path at = std::filesystem::absolute(file, failed);
  for (int links = 0; links < kLinksMax && !failed; ++links) {
    all.insert(at.parent_path());
    add_links_on_the_way(all, at.parent_path());
    if (!std::filesystem::is_symlink(at, failed)) return;
    at = at.parent_path() / std::filesystem::read_symlink(at, failed);
  }
}

}  // namespace

bool WatchedFiles::arm() {
  UniqueFd notify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  bool watched = static_cast<bool>(notify);
  Folders folders;
  for (const std::filesystem::path& file : files_) add_folders(folders, file);
  for (const std::filesystem::path& folder : folders) {
    if (watched) watched = ::inotify_add_watch(notify.get(), folder.c_str(), kChanges) >= 0;
  }
  notify_ = watched ? std::move(notify) : UniqueFd();
  return watched;
}

void WatchedFiles::drain() noexcept {
  alignas(inotify_event) std::array<std::byte, 4096> events{};
  while (notify_ && ::read(notify_.get(), events.data(), events.size()) > 0) {
  }
}

WatchedFiles::Stamp WatchedFiles::stamp_of(const std::filesystem::path& file) noexcept {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return {};
  return {.device = status.st_dev,
          .inode = status.st_ino,
          .size = status.st_size,
          .changed_s = status.st_ctim.tv_sec,
          .changed_ns = status.st_ctim.tv_nsec};
}

bool WatchedFiles::have_changed() {
  std::vector<Stamp> now(files_.size());
  std::transform(files_.begin(), files_.end(), now.begin(), stamp_of);
  const bool changed = now != stamps_;
  stamps_ = std::move(now);
  return changed;
}

}  // namespace heddle::watch
