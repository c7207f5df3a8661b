// Opening files below a folder, with openat2(2) or step by step: see root.h.
#include "http/root.h"

#include <linux/openat2.h>
#include <sys/syscall.h>

#include <cerrno>
#include <string>
#include <string_view>

#include <fcntl.h>

namespace heddle::http {
namespace {

// O_NONBLOCK: a FIFO without a writer is opened at once, and then refused by its type.
constexpr int kReadFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

// EAGAIN says that a rename came between; so many in a row are no coincidence.
constexpr int kRacesLostMax = 16;

// A descriptor, or a negated errno.
int open_beneath(int folder, const char* path) noexcept {
  open_how how{};
  how.flags = kReadFlags;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int lost = 0;; ++lost) {
    const long opened = ::syscall(SYS_openat2, folder, path, &how, sizeof how);
    if (opened >= 0) return static_cast<int>(opened);
    const int failure = errno;
    if (failure != EINTR && (failure != EAGAIN || lost == kRacesLostMax)) return -failure;
  }
}

// The same, one name at a time.
int open_stepwise(int root, std::string_view path) {
  UniqueFd folder;  // Where we are; empty in the root.
  while (true) {
    const std::size_t slash = path.find('/');
    const bool last = slash == std::string_view::npos;
    const std::string name(last ? path : path.substr(0, slash));
    if (name == "..") return -EXDEV;
    const int at = folder ? folder.get() : root;
    if (last) {
      const int opened = ::openat(at, name.empty() ? "." : name.c_str(), kReadFlags | O_NOFOLLOW);
      return opened >= 0 ? opened : -errno;
    }
    path.remove_prefix(slash + 1);
    if (name.empty() || name == ".") continue;
    // With O_PATH no permission to read the folder is needed, as in any lookup.
    UniqueFd next(::openat(at, name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return -errno;
    folder = std::move(next);
  }
}

Error open_error(int sys_errno) noexcept {
  const bool exhausted = sys_errno == EMFILE || sys_errno == ENFILE || sys_errno == ENOMEM;
  return Error{.code = exhausted ? Errc::kExhausted : Errc::kInvalid,
               .sys_errno = sys_errno,
               .operation = "open"};
}

}  // namespace

Result<Root> Root::create(const std::filesystem::path& folder) {
  Result<Root> root = create(folder, Lookup::kBeneath);
  if (!root) return root;
  // Asked once, here: later an EPERM can only be about the file.
  const int probe = open_beneath(root->folder_.get(), ".");
  if (probe >= 0) {
    const UniqueFd closes(probe);
  } else if (probe == -ENOSYS || probe == -EPERM) {
    root->lookup_ = Lookup::kStepwise;
  }
  return root;
}

Result<Root> Root::create(const std::filesystem::path& folder, Lookup lookup) {
  UniqueFd opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened) return open_error(errno);
  return Root(std::move(opened), lookup);
}

Result<UniqueFd> Root::open(const char* path) const {
  const int opened = lookup_ == Lookup::kBeneath ? open_beneath(folder_.get(), path)
                                                 : open_stepwise(folder_.get(), path);
  if (opened < 0) return open_error(-opened);
  return UniqueFd(opened);
}

bool Root::look_up(const char* path, struct stat& status) const noexcept {
  return ::fstatat(folder_.get(), path, &status, 0) == 0;
}

}  // namespace heddle::http
