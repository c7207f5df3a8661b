// Looking names up, and closing in time: see open_files.h.
#include "http/open_files.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace heddle::http {
namespace {

bool same_time(const timespec& one, const timespec& other) noexcept {
  return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

// Whether it is one file, unchanged. Whatever changes content or rights changes st_ctim, but only
// once in a tick of the kernel's.
bool same_version(const struct stat& one, const struct stat& other) noexcept {
  return one.st_ino == other.st_ino && one.st_dev == other.st_dev && one.st_mode == other.st_mode &&
         one.st_uid == other.st_uid && one.st_gid == other.st_gid && one.st_size == other.st_size &&
         same_time(one.st_ctim, other.st_ctim) && same_time(one.st_mtim, other.st_mtim);
}

std::size_t share_of_descriptors() noexcept {
  constexpr rlim_t kShare = 16;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  return std::min<rlim_t>(OpenFiles::kFilesMax, limit.rlim_cur / kShare);
}

bool is_idle(std::int64_t used, std::int64_t now, std::int64_t seconds) noexcept {
  return now < used || now - used >= seconds;  // A clock that was set back makes all of them so.
}

}  // namespace

OpenFiles::OpenFiles() : OpenFiles(share_of_descriptors()) {}

Result<OpenFile> OpenFiles::get(const Root& root, const char* path, struct stat& status,
                                std::int64_t now) {
  const std::string_view name(path);
  const bool may_keep = files_max_ > 0 && name.size() <= kPathBytesMax;
  if (may_keep && root.look_up(path, status)) {
    if (auto kept = find(name, status, now)) return OpenFile(std::move(kept));
  }
  Result<UniqueFd> opened = root.open(path);
  if (!opened && opened.error().code == Errc::kExhausted) {
    close_all();
    opened = root.open(path);
  }
  if (!opened) return opened.error();
  if (::fstat(opened->get(), &status) != 0) {
    return Error{.code = Errc::kInvalid, .sys_errno = EIO, .operation = "fstat"};
  }
  if (!may_keep || !S_ISREG(status.st_mode)) return OpenFile(std::move(*opened));
  return keep(name, std::move(*opened), status, now);
}

std::shared_ptr<const UniqueFd> OpenFiles::find(std::string_view path, const struct stat& now_there,
                                                std::int64_t now) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(path);
  if (found == entries_.end()) return nullptr;
  if (!same_version(found->second.opened, now_there)) {
    entries_.erase(found);
    return nullptr;
  }
  found->second.used = now;
  return found->second.file;
}

OpenFile OpenFiles::keep(std::string_view path, UniqueFd file, const struct stat& status,
                         std::int64_t now) {
  const std::lock_guard lock(mutex_);
  if (!make_room(now)) return OpenFile(std::move(file));
  auto kept = std::make_shared<const UniqueFd>(std::move(file));
  entries_.insert_or_assign(std::string(path), Entry{.file = kept, .opened = status, .used = now});
  return OpenFile(std::move(kept));
}

// Nothing gives way that was used in this second: if more files are in use than can be kept, the
// others are opened each time, as if there were none.
bool OpenFiles::make_room(std::int64_t now) {
  if (entries_.size() < files_max_) return true;
  const auto oldest = std::ranges::min_element(
      entries_, {}, [](const Entries::value_type& entry) { return entry.second.used; });
  if (!is_idle(oldest->second.used, now, 1)) return false;
  entries_.erase(oldest);
  return true;
}

void OpenFiles::close_idle(std::int64_t now) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [now](const Entries::value_type& entry) {
    return is_idle(entry.second.used, now, kIdleSeconds);
  });
}

void OpenFiles::close_all() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
}

}  // namespace heddle::http
