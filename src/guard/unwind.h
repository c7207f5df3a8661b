// The call chain of the calling thread, by the unwind tables (.eh_frame) of the loaded objects.
//
// Not by libgcc's _Unwind_Backtrace(): that trusts the stack. Greenlets copy slices of it away, and
// fibers' stacks end abruptly, so what lies above the live frames may be anything. Here every word
// of the stack is read by process_vm_readv(), which reports bad addresses instead of dying of them,
// and the walk ends at the first frame that makes no sense.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "guard/cfi.h"

namespace heddle::guard {

// Room to work in, all zero at first. Too big for the stacks of fibers.
struct WalkRoom {
  // Some pages of the stack, as they were. What the walk reads comes by them: a call into the
  // kernel for each word would be most of its time.
  static constexpr std::size_t kPageSize = 4096;
  static constexpr std::size_t kPages = 4;
  std::uintptr_t copied_from;
  std::size_t copied_size;  // 0: nothing is there yet.
  std::array<std::uintptr_t, kPages * kPageSize / sizeof(std::uintptr_t)> copy;

  // What the tables say of instructions that walks came by before. To read them takes longer than
  // the rest.
  struct Known {
    std::uintptr_t address;  // 0: nothing is known.
    Row row;
  };
  std::array<Known, 64> rows;
  unsigned generation;  // Of the loaded libraries.
};

// True if the walk may end after these frames.
using Enough = bool (*)(std::span<const std::uintptr_t> frames);

// Fills `frames` with return addresses, innermost first, beginning with `site`, which must be in
// the caller's call chain. Returns how many; at least `site` itself.
std::size_t walk_stack(const void* site, std::span<std::uintptr_t> frames, WalkRoom& room,
                       Enough enough = nullptr);

// To be called when the program loads or unloads a library: addresses may mean something else.
void forget_known_rows();

}  // namespace heddle::guard
