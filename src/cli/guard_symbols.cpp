// The names of functions: see guard_symbols.h.
#include "cli/guard_symbols.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>

#include "base/unique_fd.h"

namespace heddle::cli {
namespace {

// A file in memory. What is in it need not be right: offsets and counts are looked at before use.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) {
    // Not a device or a FIFO, which would be waited for.
    const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status {};
    if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
    const auto size = static_cast<std::size_t>(status.st_size);
    void* start =
        size == 0 ? MAP_FAILED : mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (start != MAP_FAILED) bytes_ = {static_cast<const char*>(start), size};
  }
  ~MappedFile() {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): so munmap() takes it.
    if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] std::string_view part(std::uint64_t offset, std::uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) return {};
    return {bytes_.data() + offset, size};
  }

  // A copy: it need not be aligned.
  template <typename T>
  [[nodiscard]] std::optional<T> at(std::uint64_t offset) const {
    const std::string_view bytes = part(offset, sizeof(T));
    if (bytes.size() != sizeof(T)) return std::nullopt;
    T value{};
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

 private:
  std::span<const char> bytes_;
};

std::vector<ElfW(Shdr)> sections_of(const MappedFile& file) {
  std::vector<ElfW(Shdr)> sections;
  const auto header = file.at<ElfW(Ehdr)>(0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return sections;
  for (std::uint64_t i = 0; i < header->e_shnum; ++i) {
    const auto section = file.at<ElfW(Shdr)>(header->e_shoff + i * sizeof(ElfW(Shdr)));
    if (!section) break;
    sections.push_back(*section);
  }
  return sections;
}

// .symtab has all of them; a stripped file has .dynsym alone.
const ElfW(Shdr) * symbol_table(const std::vector<ElfW(Shdr)>& sections) {
  const auto find = [&](std::uint32_t type) -> const ElfW(Shdr) * {
    for (const ElfW(Shdr) & section : sections) {
      if (section.sh_type == type && section.sh_link < sections.size()) return &section;
    }
    return nullptr;
  };
  const ElfW(Shdr)* const full = find(SHT_SYMTAB);
  return full != nullptr ? full : find(SHT_DYNSYM);
}

std::string demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
  return text != nullptr ? text.get() : name;
}

}  // namespace

std::vector<Symbols::Function> Symbols::read(const std::string& path) {
  std::vector<Function> functions;
  const MappedFile file(path);
  const std::vector<ElfW(Shdr)> sections = sections_of(file);
  const ElfW(Shdr)* const table = symbol_table(sections);
  if (table == nullptr) return functions;
  const ElfW(Shdr)& strings = sections[table->sh_link];
  const std::string_view names = file.part(strings.sh_offset, strings.sh_size);
  for (std::uint64_t i = 0; i < table->sh_size / sizeof(ElfW(Sym)); ++i) {
    const auto symbol = file.at<ElfW(Sym)>(table->sh_offset + i * sizeof(ElfW(Sym)));
    if (!symbol || symbol->st_name >= names.size()) continue;
    if ((symbol->st_info & 0xf) != STT_FUNC || symbol->st_size == 0) continue;
    const std::string_view name = names.substr(symbol->st_name);
    functions.push_back({.start = symbol->st_value,
                         .size = symbol->st_size,
                         .name = std::string(name.substr(0, name.find('\0')))});
  }
  std::stable_sort(
      functions.begin(), functions.end(),
      [](const Function& left, const Function& right) { return left.start < right.start; });
  return functions;
}

std::string Symbols::function_at(const std::string& path, std::uint64_t address) {
  const auto [known, is_new] = files_.try_emplace(path);
  std::vector<Function>& functions = known->second;
  if (is_new) functions = read(path);
  auto after = std::upper_bound(
      functions.begin(), functions.end(), address,
      [](std::uint64_t value, const Function& function) { return value < function.start; });
  if (after == functions.begin()) return "";
  const Function& function = *std::prev(after);
  return address - function.start < function.size ? demangled(function.name) : "";
}

}  // namespace heddle::cli
