// The guard's reader of dynamic sections, hash tables and symbols, over an object that is anything.
// The first byte says where the dynamic section is, in words.
#include <algorithm>
#include <cstring>
#include <memory>

#include "fuzz/fuzz.h"
#include "guard/elf.h"

using namespace heddle::guard;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  // A copy of its own, aligned, so that the byte behind it is not readable.
  const std::size_t count = size - 1;
  const auto copy = std::make_unique<std::uint8_t[]>(count);
  std::copy_n(data + 1, count, copy.get());
  const auto start = reinterpret_cast<std::uintptr_t>(copy.get());
  const Object object{
      .base = start,
      .start = start,
      .end = start + count,
      .dynamic = reinterpret_cast<const ElfW(Dyn)*>(start + std::size_t{8} * data[0])};
  (void)find_symbol(object, "SSL_read");
  for (std::size_t i = 0; i < 3; ++i) {
    const char* name = needed(object, i);
    if (name != nullptr) (void)std::strlen(name);
  }
  (void)is_permanent(object);
  std::uintptr_t offset = 0;
  const std::string_view name = function_at(object, start + count / 2, offset);
  heddle::fuzz::require(name.size() <= count, "a name is in the object");
  return 0;
}
