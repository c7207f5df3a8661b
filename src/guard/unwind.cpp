// The call chain of the calling thread: see unwind.h.
#include "guard/unwind.h"

#include <sys/uio.h>

#include <array>
#include <optional>

#include <unistd.h>

#include "guard/cfi.h"

namespace heddle::guard {
namespace {

using Registers = std::array<std::uintptr_t, kRegisterCount>;

// The walk begins in the guard itself.
constexpr std::size_t kOwnFramesMax = 16;

std::optional<std::uintptr_t> read_word(std::uintptr_t address) {
  std::uintptr_t word = 0;
  const iovec to{.iov_base = &word, .iov_len = sizeof(word)};
  // NOLINTNEXTLINE(performance-no-int-to-ptr): it need not be the address of anything.
  const iovec from{.iov_base = reinterpret_cast<void*>(address), .iov_len = sizeof(word)};
  if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != sizeof(word)) return std::nullopt;
  return word;
}

std::optional<std::uintptr_t> apply(const Rule& rule, std::uintptr_t current, std::uintptr_t cfa,
                                    const Registers& registers) {
  const auto offset = static_cast<std::uintptr_t>(std::int64_t{rule.offset});
  switch (rule.kind) {
    case Rule::Kind::kSame:
      return current;
    case Rule::Kind::kUndefined:
      return std::nullopt;
    case Rule::Kind::kAtCfa:
      return read_word(cfa + offset);
    case Rule::Kind::kCfaPlus:
      return cfa + offset;
    case Rule::Kind::kRegister:
      return registers[rule.base] + offset;
    case Rule::Kind::kAtRegister:
      return read_word(registers[rule.base] + offset);
  }
  return std::nullopt;
}

// Puts the caller's registers in place of the callee's. False at the end, and at nonsense.
bool step(Registers& registers, const Row& row) {
  const auto cfa = apply(row.cfa, 0, 0, registers);
  if (!cfa) return false;
  // Callers lie above, else the walk could go in circles. But a signal may have come while on
  // another stack.
  if (!row.interrupted && *cfa <= registers[kRegisterStack]) return false;
  Registers caller = registers;
  caller[kRegisterStack] = *cfa;
  for (std::size_t i = 0; i < kRegisterCount; ++i) {
    if (row.registers[i].kind == Rule::Kind::kSame) continue;
    const auto value = apply(row.registers[i], registers[i], *cfa, registers);
    if (!value && i == kRegisterReturn) return false;
    caller[i] = value.value_or(0);
  }
  registers = caller;
  return registers[kRegisterReturn] != 0;
}

#if defined(__x86_64__)

// The registers that calls preserve, at one instruction of this very function.
[[gnu::always_inline]] inline Registers registers_here() {
  Registers registers{};
  asm volatile(
      "movq %%rbx, 24(%0)\n\t"
      "movq %%rbp, 48(%0)\n\t"
      "movq %%rsp, 56(%0)\n\t"
      "movq %%r12, 96(%0)\n\t"
      "movq %%r13, 104(%0)\n\t"
      "movq %%r14, 112(%0)\n\t"
      "movq %%r15, 120(%0)\n\t"
      "leaq 0(%%rip), %%rax\n\t"
      "movq %%rax, 128(%0)"
      :
      : "r"(registers.data())
      : "rax", "memory");
  return registers;
}

std::size_t walk(std::uintptr_t site, std::span<std::uintptr_t> frames) {
  Registers registers = registers_here();
  std::size_t count = 0;
  bool is_return_address = false;
  Row row;
  for (std::size_t i = 0; i < kOwnFramesMax + frames.size() && count < frames.size(); ++i) {
    if (!find_row(registers[kRegisterReturn] - (is_return_address ? 1 : 0), row)) break;
    if (!step(registers, row)) break;
    is_return_address = !row.interrupted;
    if (count > 0 || registers[kRegisterReturn] == site) {
      frames[count++] = registers[kRegisterReturn];
    }
  }
  return count;
}

#else

// Elsewhere the place of the call has to do.
std::size_t walk(std::uintptr_t, std::span<std::uintptr_t>) {
  return 0;
}

#endif

}  // namespace

std::size_t walk_stack(const void* site, std::span<std::uintptr_t> frames) {
  const auto start = reinterpret_cast<std::uintptr_t>(site);
  const std::size_t count = walk(start, frames);
  if (count > 0) return count;
  frames[0] = start;
  return 1;
}

}  // namespace heddle::guard
