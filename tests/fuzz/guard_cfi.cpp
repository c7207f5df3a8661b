// The guard's reader of call frame information, over tables that are anything. The first two bytes
// say which address is looked for, and where the header is.
#include <algorithm>
#include <memory>

#include "fuzz/fuzz.h"
#include "guard/cfi.h"

using namespace heddle::guard;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  // A copy of its own, so that the byte behind it is not readable.
  const std::size_t count = size - 2;
  const auto copy = std::make_unique<std::uint8_t[]>(count);
  std::copy_n(data + 2, count, copy.get());
  const auto start = reinterpret_cast<std::uintptr_t>(copy.get());
  const Memory tables{.start = start, .end = start + count};
  Row row;
  if (find_row(start + data[0], start + data[1], tables, row)) {
    const bool is_register =
        row.cfa.kind == Rule::Kind::kRegister || row.cfa.kind == Rule::Kind::kAtRegister;
    heddle::fuzz::require(!is_register || row.cfa.base < kRegisterCount,
                          "the CFA's register is known");
    for (const Rule& rule : row.registers) {
      heddle::fuzz::require(rule.base < kRegisterCount, "so is every rule's");
    }
  }
  return 0;
}
