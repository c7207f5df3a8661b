// Making a folder's page: see listing.h.
#include "http/listing.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include <dirent.h>
#include <fcntl.h>

#include "http/escape.h"

namespace heddle::http {
namespace {

// Bounds the time for which other connections wait.
constexpr std::size_t kNamesMax = 5000;

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

bool is_folder(DIR* directory, const dirent& entry) noexcept {
  if (entry.d_type == DT_DIR) return true;
  if (entry.d_type != DT_UNKNOWN) return false;  // A link to a folder redirects when asked for.
  struct stat status {};
  return ::fstatat(::dirfd(directory), entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISDIR(status.st_mode);
}

// Names in order, those of folders with a slash at their end. Says whether that is all.
bool read_names(DIR* directory, std::vector<std::string>& names) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else reads this directory stream.
  while (const dirent* entry = ::readdir(directory)) {
    std::string name(static_cast<const char*>(entry->d_name));
    if (name == "." || name == "..") continue;
    if (names.size() == kNamesMax) return false;
    if (is_folder(directory, *entry)) name += '/';
    names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  return true;
}

}  // namespace

Result<std::string> list_folder(UniqueFd folder, std::string_view title) {
  const Directory directory(::fdopendir(folder.get()));
  if (!directory) {
    const int failure = errno;
    return Error{.code = failure == ENOMEM ? Errc::kExhausted : Errc::kInvalid,
                 .sys_errno = failure,
                 .operation = "fdopendir"};
  }
  static_cast<void>(folder.release());  // Closed with `directory`.
  std::vector<std::string> names;
  const bool complete = read_names(directory.get(), names);

  std::string page = "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>";
  append_html(page, title);
  page += "</title>\n<h1>";
  append_html(page, title);
  page += "</h1>\n<ul>\n";
  if (title != "/") page += "<li><a href=\"../\">../</a>\n";
  for (const std::string& name : names) {
    page += "<li><a href=\"./";  // Without "./", a colon in the name would end a scheme.
    append_percent_encoded(page, name);
    page += "\">";
    append_html(page, name);
    page += "</a>\n";
  }
  page += complete ? "</ul>\n" : "</ul>\n<p>There are more.\n";
  return page;
}

}  // namespace heddle::http
