// The objects of this process: see elf.h.
#include "guard/elf.h"

#include <algorithm>
#include <cstring>

#include <dlfcn.h>
#include <errno.h>

namespace heddle::guard {
namespace {

// The tables that a dynamic section points to.
struct Tables {
  const char* strings = nullptr;
  const ElfW(Sym) * symbols = nullptr;
  const std::uint32_t* gnu_hash = nullptr;
  const std::uint32_t* sysv_hash = nullptr;
  const char* soname = nullptr;
};

// glibc writes the final addresses into most dynamic sections, but not into read-only ones (vDSO).
template <typename T>
const T* located(const Object& object, ElfW(Addr) pointer) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): that is how ELF stores pointers.
  return reinterpret_cast<const T*>(pointer < object.base ? pointer + object.base : pointer);
}

Tables tables_of(const Object& object) {
  Tables tables;
  ElfW(Xword) soname_offset = 0;
  for (const ElfW(Dyn)* entry = object.dynamic; entry != nullptr && entry->d_tag != DT_NULL;
       ++entry) {
    switch (entry->d_tag) {
      case DT_STRTAB:
        tables.strings = located<char>(object, entry->d_un.d_ptr);
        break;
      case DT_SYMTAB:
        tables.symbols = located<ElfW(Sym)>(object, entry->d_un.d_ptr);
        break;
      case DT_GNU_HASH:
        tables.gnu_hash = located<std::uint32_t>(object, entry->d_un.d_ptr);
        break;
      case DT_HASH:
        tables.sysv_hash = located<std::uint32_t>(object, entry->d_un.d_ptr);
        break;
      case DT_SONAME:
        soname_offset = entry->d_un.d_val;
        break;
      default:
        break;
    }
  }
  if (soname_offset != 0 && tables.strings != nullptr) {
    tables.soname = tables.strings + soname_offset;
  }
  return tables;
}

// The layout of DT_GNU_HASH: header, Bloom filter, buckets, chains.
struct GnuHash {
  explicit GnuHash(const std::uint32_t* table)
      : bucket_count(table[0]),
        first_symbol(table[1]),
        buckets(table + 4 + std::size_t{table[2]} * (sizeof(ElfW(Addr)) / 4)),
        chains(buckets + bucket_count) {}

  [[nodiscard]] std::uint32_t chain(std::uint32_t symbol) const {
    return chains[symbol - first_symbol];
  }

  std::uint32_t bucket_count;
  std::uint32_t first_symbol;
  const std::uint32_t* buckets;
  const std::uint32_t* chains;
};

std::uint32_t hash_of(const char* name) {
  std::uint32_t hash = 5381;
  for (; *name != 0; ++name) hash = hash * 33 + static_cast<unsigned char>(*name);
  return hash;
}

std::size_t count_symbols(const Tables& tables) {
  if (tables.sysv_hash != nullptr) return tables.sysv_hash[1];
  if (tables.gnu_hash == nullptr) return 0;
  const GnuHash hash(tables.gnu_hash);
  std::uint32_t last = 0;
  for (std::uint32_t i = 0; i < hash.bucket_count; ++i) last = std::max(last, hash.buckets[i]);
  if (last < hash.first_symbol) return hash.first_symbol;
  while ((hash.chain(last) & 1U) == 0) ++last;  // The low bit ends a chain.
  return std::size_t{last} + 1;
}

bool is_defined(const ElfW(Sym) & symbol) {
  return symbol.st_shndx != SHN_UNDEF && symbol.st_value != 0 && (symbol.st_info & 0xf) == STT_FUNC;
}

const ElfW(Sym) * lookup(const Tables& tables, const char* name) {
  if (tables.symbols == nullptr || tables.strings == nullptr) return nullptr;
  const auto matches = [&](std::size_t index) {
    const ElfW(Sym)& symbol = tables.symbols[index];
    return is_defined(symbol) && std::strcmp(tables.strings + symbol.st_name, name) == 0;
  };
  if (tables.gnu_hash == nullptr) {
    const std::size_t count = count_symbols(tables);
    for (std::size_t i = 0; i < count; ++i) {
      if (matches(i)) return &tables.symbols[i];
    }
    return nullptr;
  }
  const GnuHash hash(tables.gnu_hash);
  const std::uint32_t wanted = hash_of(name);
  std::uint32_t index = hash.bucket_count == 0 ? 0 : hash.buckets[wanted % hash.bucket_count];
  if (index < hash.first_symbol) return nullptr;
  for (;; ++index) {
    const std::uint32_t found = hash.chain(index);
    if ((found | 1U) == (wanted | 1U) && matches(index)) return &tables.symbols[index];
    if ((found & 1U) != 0) return nullptr;
  }
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

Object own_object() {
  return object_at(reinterpret_cast<std::uintptr_t>(&own_object));
}

std::string_view short_name(const Object& object) {
  const std::string_view name = last_component(object.path);
  return name.empty() ? std::string_view(program_invocation_short_name) : name;
}

void* find_symbol(const Object& object, const char* name) {
  const ElfW(Sym)* symbol = lookup(tables_of(object), name);
  if (symbol == nullptr) return nullptr;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): that is how ELF stores pointers.
  return reinterpret_cast<void*>(object.base + symbol->st_value);
}

std::string_view function_at(const Object& object, std::uintptr_t address, std::uintptr_t& offset) {
  const Tables tables = tables_of(object);
  if (tables.symbols == nullptr || tables.strings == nullptr) return {};
  const std::size_t count = count_symbols(tables);
  for (std::size_t i = 0; i < count; ++i) {
    const ElfW(Sym)& symbol = tables.symbols[i];
    const std::uintptr_t start = object.base + symbol.st_value;
    if (is_defined(symbol) && address >= start && address - start < symbol.st_size) {
      offset = address - start;
      return tables.strings + symbol.st_name;
    }
  }
  return {};
}

const char* needed(const Object& object, std::size_t index) {
  const Tables tables = tables_of(object);
  if (tables.strings == nullptr) return nullptr;
  for (const ElfW(Dyn)* entry = object.dynamic; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag != DT_NEEDED) continue;
    if (index == 0) return tables.strings + entry->d_un.d_val;
    --index;
  }
  return nullptr;
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
        const char* soname = tables_of(object).soname;
        const bool is_it = last_component(object.path) == sought.name ||
                           (soname != nullptr && sought.name == soname);
        if (is_it) sought.found = object;
        return is_it;
      },
      &search);
  return search.found;
}

bool is_permanent(const Object& object) {
  for (const ElfW(Dyn)* entry = object.dynamic; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_FLAGS_1) return (entry->d_un.d_val & DF_1_NODELETE) != 0;
  }
  return false;
}

}  // namespace heddle::guard
