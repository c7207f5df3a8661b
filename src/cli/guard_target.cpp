// Whether the guard can be loaded into a program: see guard_target.h.
#include "cli/guard_target.h"

#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

#include <elf.h>
#include <fmt/core.h>
#include <link.h>
#include <unistd.h>

namespace heddle::cli {
namespace {

// As execvp() does it.
std::string find_in_path(const std::string& program) {
  if (program.find('/') != std::string::npos) return program;
  const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe)
  std::string_view rest = path == nullptr ? "/bin:/usr/bin" : path;
  while (true) {
    const std::size_t colon = rest.find(':');
    const std::string_view folder = rest.substr(0, colon);
    std::string candidate = fmt::format("{}/{}", folder.empty() ? "." : folder, program);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
    if (colon == std::string_view::npos) return program;
    rest.remove_prefix(colon + 1);
  }
}

template <typename T>
bool read_at(std::ifstream& file, std::uint64_t offset, T& value) {
  file.seekg(static_cast<std::streamoff>(offset));
  return static_cast<bool>(file.read(reinterpret_cast<char*>(&value), sizeof(value)));
}

// An ELF program without an interpreter (ld.so) has nobody who would load the guard.
bool is_static(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  ElfW(Ehdr) header{};
  if (!read_at(file, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return false;
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment{};
    if (!read_at(file, header.e_phoff + i * header.e_phentsize, segment)) return false;
    if (segment.p_type == PT_INTERP) return false;
  }
  return true;
}

bool gains_rights(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return false;
  const bool other_user = (status.st_mode & S_ISUID) != 0 && status.st_uid != getuid();
  const bool other_group = (status.st_mode & S_ISGID) != 0 && status.st_gid != getgid();
  const bool capable =
      getuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
  return other_user || other_group || capable;
}

}  // namespace

std::string obstacle_to_preloading(const std::string& program) {
  const std::string path = find_in_path(program);
  if (is_static(path)) {
    return path + ": linked statically, so the guard cannot be loaded and will see nothing of it";
  }
  if (gains_rights(path)) {
    return path +
           ": runs with other rights than yours, so the system does not load the guard, and "
           "nothing will be seen of it";
  }
  return "";
}

}  // namespace heddle::cli
