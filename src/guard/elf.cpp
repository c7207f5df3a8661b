// The objects of this process: see elf.h.
#include "guard/elf.h"

#include <algorithm>
#include <cstring>

#include <dlfcn.h>
#include <errno.h>

namespace heddle::guard {
namespace {

// The dynamic section: as many entries as there is room for, and an end before that.
struct Dynamics {
  const ElfW(Dyn) * first = nullptr;
  const ElfW(Dyn) * last = nullptr;

  [[nodiscard]] const ElfW(Dyn) * begin() const { return first; }
  [[nodiscard]] const ElfW(Dyn) * end() const { return last; }
};

Memory memory_at(const Object& object, std::uintptr_t address) {
  return segment_at({.start = object.start, .end = object.end}, address);
}

Dynamics dynamics_of(const Object& object) {
  const auto address = reinterpret_cast<std::uintptr_t>(object.dynamic);
  const std::size_t count = memory_at(object, address).count_from<ElfW(Dyn)>(address);
  Dynamics dynamics{.first = object.dynamic, .last = object.dynamic};
  while (static_cast<std::size_t>(dynamics.last - dynamics.first) < count &&
         dynamics.last->d_tag != DT_NULL) {
    ++dynamics.last;
  }
  return dynamics;
}

// A table of `T`, which ends where the memory does.
template <typename T>
struct Table {
  const T* first = nullptr;
  std::size_t count = 0;

  explicit operator bool() const { return first != nullptr; }
};

// glibc writes the final addresses into most dynamic sections, but not into read-only ones (vDSO).
template <typename T>
Table<T> table_at(const Object& object, ElfW(Addr) pointer) {
  const std::uintptr_t address = pointer < object.base ? pointer + object.base : pointer;
  const std::size_t count = memory_at(object, address).count_from<T>(address);
  if (count == 0) return {};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): that is how ELF stores pointers.
  return {.first = reinterpret_cast<const T*>(address), .count = count};
}

// The layout of DT_GNU_HASH: header, Bloom filter, buckets, chains.
class GnuHash {
 public:
  explicit GnuHash(const Table<std::uint32_t>& table) {
    constexpr std::size_t kHeader = 4;
    if (table.count < kHeader) return;
    const std::size_t bloom = std::size_t{table.first[2]} * (sizeof(ElfW(Addr)) / 4);
    const std::size_t before_chains = kHeader + bloom + table.first[0];
    if (before_chains > table.count) return;
    bucket_count_ = table.first[0];
    first_symbol_ = table.first[1];
    buckets_ = table.first + kHeader + bloom;
    chains_ = table.first + before_chains;
    chain_count_ = table.count - before_chains;
  }

  // The first symbol whose name may have `hash`, or 0.
  [[nodiscard]] std::uint32_t bucket(std::uint32_t hash) const {
    return bucket_count_ == 0 ? 0 : buckets_[hash % bucket_count_];
  }
  // Whether `symbol` is in a chain, which it then sets `hash` to.
  bool chain(std::uint32_t symbol, std::uint32_t& hash) const {
    if (symbol < first_symbol_ || symbol - first_symbol_ >= chain_count_) return false;
    hash = chains_[symbol - first_symbol_];
    return true;
  }

  [[nodiscard]] std::size_t count_symbols() const {
    std::uint32_t last = 0;
    for (std::uint32_t i = 0; i < bucket_count_; ++i) last = std::max(last, buckets_[i]);
    std::uint32_t hash = 0;
    if (!chain(last, hash)) return first_symbol_;
    while ((hash & 1U) == 0 && chain(last + 1, hash)) ++last;  // The low bit ends a chain.
    return std::size_t{last} + 1;
  }

 private:
  std::uint32_t bucket_count_ = 0;
  std::uint32_t first_symbol_ = 0;
  const std::uint32_t* buckets_ = nullptr;
  const std::uint32_t* chains_ = nullptr;
  std::size_t chain_count_ = 0;
};

// The tables that a dynamic section points to.
struct Tables {
  Table<char> strings;
  Table<ElfW(Sym)> symbols;
  Table<std::uint32_t> gnu_hash;
  Table<std::uint32_t> sysv_hash;

  // Null if there is no such text.
  [[nodiscard]] const char* text(std::size_t offset) const {
    if (offset >= strings.count) return nullptr;
    const char* text = strings.first + offset;
    return std::memchr(text, 0, strings.count - offset) == nullptr ? nullptr : text;
  }

  // No more than there is room for.
  [[nodiscard]] std::size_t count_symbols() const {
    std::size_t count = 0;
    if (sysv_hash.count > 1) {
      count = sysv_hash.first[1];
    } else if (gnu_hash) {
      count = GnuHash(gnu_hash).count_symbols();
    }
    return std::min(count, symbols.count);
  }
};

Tables tables_of(const Object& object) {
  Tables tables;
  for (const ElfW(Dyn) & entry : dynamics_of(object)) {
    switch (entry.d_tag) {
      case DT_STRTAB:
        tables.strings = table_at<char>(object, entry.d_un.d_ptr);
        break;
      case DT_SYMTAB:
        tables.symbols = table_at<ElfW(Sym)>(object, entry.d_un.d_ptr);
        break;
      case DT_GNU_HASH:
        tables.gnu_hash = table_at<std::uint32_t>(object, entry.d_un.d_ptr);
        break;
      case DT_HASH:
        tables.sysv_hash = table_at<std::uint32_t>(object, entry.d_un.d_ptr);
        break;
      default:
        break;
    }
  }
  return tables;
}

// The text that `tag` names for the `index`-th time, or null.
const char* dynamic_text(const Object& object, ElfW(Sxword) tag, std::size_t index) {
  for (const ElfW(Dyn) & entry : dynamics_of(object)) {
    if (entry.d_tag != tag) continue;
    if (index == 0) return tables_of(object).text(entry.d_un.d_val);
    --index;
  }
  return nullptr;
}

std::uint32_t hash_of(const char* name) {
  std::uint32_t hash = 5381;
  for (; *name != 0; ++name) hash = hash * 33 + static_cast<unsigned char>(*name);
  return hash;
}

bool is_defined(const ElfW(Sym) & symbol, int type) {
  return symbol.st_shndx != SHN_UNDEF && symbol.st_value != 0 && (symbol.st_info & 0xf) == type;
}

const ElfW(Sym) * lookup(const Tables& tables, const char* name, int type) {
  const auto matches = [&](std::size_t index) {
    if (index >= tables.symbols.count || !is_defined(tables.symbols.first[index], type)) {
      return false;
    }
    const char* text = tables.text(tables.symbols.first[index].st_name);
    return text != nullptr && std::strcmp(text, name) == 0;
  };
  if (!tables.gnu_hash) {
    const std::size_t count = tables.count_symbols();
    for (std::size_t i = 0; i < count; ++i) {
      if (matches(i)) return &tables.symbols.first[i];
    }
    return nullptr;
  }
  const GnuHash hash(tables.gnu_hash);
  const std::uint32_t wanted = hash_of(name);
  std::uint32_t found = 0;
  for (std::uint32_t index = hash.bucket(wanted); hash.chain(index, found); ++index) {
    if ((found | 1U) == (wanted | 1U) && matches(index)) return &tables.symbols.first[index];
    if ((found & 1U) != 0) return nullptr;
  }
  return nullptr;
}

std::string_view last_component(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);  // substr() could throw.
  return path;
}

struct Visit {
  Visitor visit;
  void* data;
};

Object described(const dl_phdr_info& info) {
  Object object{.base = info.dlpi_addr, .start = UINTPTR_MAX, .path = info.dlpi_name};
  for (std::size_t i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info.dlpi_phdr[i];
    const std::uintptr_t start = info.dlpi_addr + header.p_vaddr;
    if (header.p_type == PT_LOAD) {
      object.start = std::min(object.start, start);
      object.end = std::max(object.end, start + header.p_memsz);
    } else if (header.p_type == PT_DYNAMIC) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): that is how ELF stores pointers.
      object.dynamic = reinterpret_cast<const ElfW(Dyn)*>(start);
    }
  }
  return object;
}

}  // namespace

Object object_at(std::uintptr_t address) {
  dl_find_object found{};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): any number may be asked for.
  if (_dl_find_object(reinterpret_cast<void*>(address), &found) != 0) return {};
  const link_map* map = found.dlfo_link_map;
  return {.base = map->l_addr,
          .start = reinterpret_cast<std::uintptr_t>(found.dlfo_map_start),
          .end = reinterpret_cast<std::uintptr_t>(found.dlfo_map_end),
          .path = map->l_name,
          .dynamic = map->l_ld};
}

Memory segment_at(const Memory& whole, std::uintptr_t address) {
  if (!whole.holds(address, 1)) return {};
  if (whole.count_from<ElfW(Ehdr)>(whole.start) == 0) return whole;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): that is where the object begins.
  const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(whole.start);
  if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return whole;
  // The first page is mapped, and the segments' headers lie behind the file's.
  constexpr std::size_t kPage = 4096;
  const Memory page{.start = whole.start, .end = std::min(whole.end, whole.start + kPage)};
  const std::uintptr_t first = whole.start + header->e_phoff;
  const std::size_t count =
      std::min<std::size_t>(page.count_from<ElfW(Phdr)>(first), header->e_phnum);
  // NOLINTNEXTLINE(performance-no-int-to-ptr): known to be in that page, if there are any.
  const auto* const segments = reinterpret_cast<const ElfW(Phdr)*>(first);
  std::uintptr_t bias = 0;
  bool first_load = true;
  for (std::size_t i = 0; i < count; ++i) {
    const ElfW(Phdr)& segment = segments[i];
    if (segment.p_type != PT_LOAD) continue;
    if (first_load) bias = whole.start - (segment.p_vaddr & ~(kPage - 1));
    first_load = false;
    const std::uintptr_t start = bias + segment.p_vaddr;
    const bool readable = (segment.p_flags & PF_R) != 0 && whole.holds(start, segment.p_memsz);
    if (!readable) continue;
    const Memory memory{.start = start, .end = start + segment.p_memsz};
    if (memory.holds(address, 1)) return memory;
  }
  return {};
}

Object own_object() {
  return object_at(reinterpret_cast<std::uintptr_t>(&own_object));
}

std::string_view short_name(const Object& object) {
  const std::string_view name = last_component(object.path);
  return name.empty() ? std::string_view(program_invocation_short_name) : name;
}

namespace {

void* find(const Object& object, const char* name, int type) {
  const ElfW(Sym)* symbol = lookup(tables_of(object), name, type);
  if (symbol == nullptr) return nullptr;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): that is how ELF stores pointers.
  return reinterpret_cast<void*>(object.base + symbol->st_value);
}

}  // namespace

void* find_symbol(const Object& object, const char* name) {
  return find(object, name, STT_FUNC);
}

const void* find_variable(const Object& object, const char* name) {
  return find(object, name, STT_OBJECT);
}

std::string_view function_at(const Object& object, std::uintptr_t address, std::uintptr_t& offset) {
  const Tables tables = tables_of(object);
  const std::size_t count = tables.count_symbols();
  for (std::size_t i = 0; i < count; ++i) {
    const ElfW(Sym)& symbol = tables.symbols.first[i];
    const std::uintptr_t start = object.base + symbol.st_value;
    if (is_defined(symbol, STT_FUNC) && address >= start && address - start < symbol.st_size) {
      const char* name = tables.text(symbol.st_name);
      if (name == nullptr) continue;
      offset = address - start;
      return name;
    }
  }
  return {};
}

const char* needed(const Object& object, std::size_t index) {
  return dynamic_text(object, DT_NEEDED, index);
}

void for_each_object(Visitor visit, void* data) {
  Visit both{.visit = visit, .data = data};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* given) {
        const Visit& visit_both = *static_cast<Visit*>(given);
        const Object object = described(*info);
        return object && visit_both.visit(object, visit_both.data) ? 1 : 0;
      },
      &both);
}

Object find_object(std::string_view name) {
  struct Search {
    std::string_view name;
    Object found;
  } search{.name = name, .found = {}};
  for_each_object(
      [](const Object& object, void* data) {
        auto& sought = *static_cast<Search*>(data);
        const char* soname = dynamic_text(object, DT_SONAME, 0);
        const bool is_it = last_component(object.path) == sought.name ||
                           (soname != nullptr && sought.name == soname);
        if (is_it) sought.found = object;
        return is_it;
      },
      &search);
  return search.found;
}

bool is_permanent(const Object& object) {
  for (const ElfW(Dyn) & entry : dynamics_of(object)) {
    if (entry.d_tag == DT_FLAGS_1) return (entry.d_un.d_val & DF_1_NODELETE) != 0;
  }
  return false;
}

}  // namespace heddle::guard
