// The call chain of the calling thread, by the unwind tables (.eh_frame) of the loaded objects.
//
// Not by libgcc's _Unwind_Backtrace(): that trusts the stack. Greenlets copy slices of it away, and
// fibers' stacks end abruptly, so what lies above the live frames may be anything. Here every word
// of the stack is read by process_vm_readv(), which reports bad addresses instead of dying of them,
// and the walk ends at the first frame that makes no sense.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace heddle::guard {

// Fills `frames` with return addresses, innermost first, beginning with `site`, which must be in
// the caller's call chain. Returns how many; at least `site` itself.
std::size_t walk_stack(const void* site, std::span<std::uintptr_t> frames);

}  // namespace heddle::guard
