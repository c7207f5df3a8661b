// The objects (program and shared libraries) of this process, and what their dynamic sections say.
//
// In place of dlopen(), dlsym() and dladdr(): those allocate, and take a lock that dlopen() holds
// while it runs foreign constructors. This is called from within other people's SSL_read().
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <link.h>

#include "guard/memory.h"

namespace heddle::guard {

struct Object {
  std::uintptr_t base = 0;  // What is added to the addresses in the file.
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  const char* path = "";  // "" is the program itself.
  const ElfW(Dyn) * dynamic = nullptr;

  explicit operator bool() const { return dynamic != nullptr; }
  [[nodiscard]] bool contains(std::uintptr_t address) const {
    return address >= start && address < end;
  }
};

// The object that `address` lies in; an empty one if there is none. Takes no lock.
Object object_at(std::uintptr_t address);

// What can be read around `address`, which is in an object that is mapped to `whole`: its segment
// there, since between segments there may be holes. All of `whole` if it has no ELF header.
Memory segment_at(const Memory& whole, std::uintptr_t address);

// The object that this code is in.
Object own_object();

// The last component of the object's path, or the program's name.
std::string_view short_name(const Object& object);

// The address of the function that `object` itself defines as `name`, or null.
void* find_symbol(const Object& object, const char* name);

// The same for a variable.
const void* find_variable(const Object& object, const char* name);

// The exported function of `object` that holds `address`, or "" if none does.
std::string_view function_at(const Object& object, std::uintptr_t address, std::uintptr_t& offset);

// The name of the `index`-th library that `object` was linked with, or null after the last.
const char* needed(const Object& object, std::size_t index);

// The loaded object whose soname or file name is `name`; an empty one if there is none.
Object find_object(std::string_view name);

// True if the dynamic linker never unloads `object`.
bool is_permanent(const Object& object);

// Calls `visit(object, data)` for each object until it returns true.
using Visitor = bool (*)(const Object&, void*);
void for_each_object(Visitor visit, void* data);

}  // namespace heddle::guard
