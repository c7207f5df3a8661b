// The call chain of the calling thread: see unwind.h.
#include "guard/unwind.h"

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <optional>

#include "guard/cfi.h"
#include "guard/hash.h"
#include "guard/process.h"

namespace heddle::guard {
namespace {

using Registers = std::array<std::uintptr_t, kRegisterCount>;

// The walk begins in the guard itself.
constexpr std::size_t kOwnFramesMax = 16;

// Reads words of a stack that need not be one.
class StackReader {
 public:
  // The page that the stack pointer is in is there for sure.
  StackReader(WalkRoom& room, std::uintptr_t stack_pointer)
      : room_(room), start_(stack_pointer), end_(stack_pointer | (WalkRoom::kPageSize - 1)) {
    room_.copied_size = 0;
  }

  std::optional<std::uintptr_t> word(std::uintptr_t address) {
    if (address % sizeof(std::uintptr_t) != 0) return std::nullopt;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): it is one.
    if (address >= start_ && address < end_) return *reinterpret_cast<std::uintptr_t*>(address);
    if (!holds(address)) copy_from(address - address % WalkRoom::kPageSize);
    if (!holds(address)) return std::nullopt;
    return room_.copy[(address - room_.copied_from) / sizeof(std::uintptr_t)];
  }

 private:
  [[nodiscard]] bool holds(std::uintptr_t address) const {
    return address >= room_.copied_from && address - room_.copied_from < room_.copied_size;
  }

  // The kernel copies whole pieces, up to the first that is not there.
  void copy_from(std::uintptr_t address) {
    const iovec to{.iov_base = room_.copy.data(), .iov_len = sizeof(room_.copy)};
    std::array<iovec, WalkRoom::kPages> from{};
    for (std::size_t i = 0; i < from.size(); ++i) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): it need not be the address of anything.
      from[i] = {.iov_base = reinterpret_cast<void*>(address + i * WalkRoom::kPageSize),
                 .iov_len = WalkRoom::kPageSize};
    }
    const ssize_t size = process_vm_readv(own_process(), &to, 1, from.data(), from.size(), 0);
    room_.copied_from = address;
    room_.copied_size = size < 0 ? 0 : static_cast<std::size_t>(size);
  }

  WalkRoom& room_;
  std::uintptr_t start_;
  std::uintptr_t end_;
};

std::optional<std::uintptr_t> apply(const Rule& rule, std::uintptr_t current, std::uintptr_t cfa,
                                    const Registers& registers, StackReader& stack) {
  const auto offset = static_cast<std::uintptr_t>(std::int64_t{rule.offset});
  switch (rule.kind) {
    case Rule::Kind::kSame:
      return current;
    case Rule::Kind::kUndefined:
      return std::nullopt;
    case Rule::Kind::kAtCfa:
      return stack.word(cfa + offset);
    case Rule::Kind::kCfaPlus:
      return cfa + offset;
    case Rule::Kind::kRegister:
      return registers[rule.base] + offset;
    case Rule::Kind::kAtRegister:
      return stack.word(registers[rule.base] + offset);
  }
  return std::nullopt;
}

// Puts the caller's registers in place of the callee's. False at the end, and at nonsense.
bool step(Registers& registers, const Row& row, StackReader& stack) {
  const auto cfa = apply(row.cfa, 0, 0, registers, stack);
  if (!cfa) return false;
  // Callers lie above, else the walk could go in circles. But a signal may have come while on
  // another stack.
  if (!row.interrupted && *cfa <= registers[kRegisterStack]) return false;
  Registers caller = registers;
  caller[kRegisterStack] = *cfa;
  for (std::size_t i = 0; i < kRegisterCount; ++i) {
    if (row.registers[i].kind == Rule::Kind::kSame) continue;
    const auto value = apply(row.registers[i], registers[i], *cfa, registers, stack);
    if (!value && i == kRegisterReturn) return false;
    caller[i] = value.value_or(0);
  }
  registers = caller;
  return registers[kRegisterReturn] != 0;
}

constinit std::atomic<unsigned> generation{0};

#if defined(__x86_64__)

// Null if there are no tables for it.
const Row* row_at(std::uintptr_t address, WalkRoom& room) {
  WalkRoom::Known& known = room.rows[mixed(0, address) % room.rows.size()];
  if (known.address == address) return &known.row;
  known.address = 0;
  if (!find_row(address, known.row)) return nullptr;
  known.address = address;
  return &known.row;
}

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

std::size_t walk(std::uintptr_t site, std::span<std::uintptr_t> frames, WalkRoom& room,
                 Enough enough) {
  Registers registers = registers_here();
  StackReader stack(room, registers[kRegisterStack]);
  std::size_t count = 0;
  bool is_return_address = false;
  for (std::size_t i = 0; i < kOwnFramesMax + frames.size() && count < frames.size(); ++i) {
    const Row* const row = row_at(registers[kRegisterReturn] - (is_return_address ? 1 : 0), room);
    if (row == nullptr || !step(registers, *row, stack)) break;
    is_return_address = !row->interrupted;
    if (count > 0 || registers[kRegisterReturn] == site) {
      frames[count++] = registers[kRegisterReturn];
      if (enough != nullptr && enough(frames.first(count))) break;
    }
  }
  return count;
}

#else

// Elsewhere the place of the call has to do.
std::size_t walk(std::uintptr_t, std::span<std::uintptr_t>, WalkRoom&, Enough) {
  return 0;
}

#endif

}  // namespace

std::size_t walk_stack(const void* site, std::span<std::uintptr_t> frames, WalkRoom& room,
                       Enough enough) {
  const unsigned now = generation.load(std::memory_order_relaxed);
  if (room.generation != now) {
    for (WalkRoom::Known& known : room.rows) known.address = 0;
    room.generation = now;
  }
  const auto start = reinterpret_cast<std::uintptr_t>(site);
  const std::size_t count = walk(start, frames, room, enough);
  if (count > 0) return count;
  frames[0] = start;
  return 1;
}

void forget_known_rows() {
  generation.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace heddle::guard
