// The call frame information of an instruction: how to find its caller's registers. What .eh_frame
// says (LSB Core, Exception Frames; DWARF 4, section 6.4), as far as compilers for x86-64 use it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "guard/memory.h"

namespace heddle::guard {

// Numbered as DWARF does; the last one is the return address.
inline constexpr std::size_t kRegisterCount = 17;
inline constexpr std::size_t kRegisterBase = 6;     // rbp
inline constexpr std::size_t kRegisterStack = 7;    // rsp
inline constexpr std::size_t kRegisterReturn = 16;  // rip

// Where a register of the caller is. Small, because fibers have little stack.
struct Rule {
  enum class Kind : std::uint8_t {
    kSame,       // It still has its value.
    kUndefined,  // It is lost; for the return address: there is no caller.
    kAtCfa,      // In memory at CFA + offset.
    kCfaPlus,    // It is CFA + offset.
    kRegister,   // In another register.
    kAtRegister  // In memory at another register + offset.
  };
  Kind kind = Kind::kSame;
  std::uint8_t base = 0;
  std::int32_t offset = 0;
};

// All rules for one instruction. The CFA is the stack pointer before the call.
struct Row {
  Rule cfa{.kind = Rule::Kind::kUndefined};  // kRegister with an offset, or kAtRegister.
  std::array<Rule, kRegisterCount> registers{};
  bool interrupted = false;  // A signal came here: the caller's address is not a return address.
};

// Fills `row` for the instruction at `address`. False if it has no tables, or unusual ones.
bool find_row(std::uintptr_t address, Row& row);

// The same by the .eh_frame_hdr at `header`. It and the records are in `tables`; whatever is in
// there, nothing else is read.
bool find_row(std::uintptr_t address, std::uintptr_t header, const Memory& tables, Row& row);

}  // namespace heddle::guard
