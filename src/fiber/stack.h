// Stacks: mapped with a guard below, pooled, and given back to the kernel when
// they are many.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

namespace heddle::fiber {

// Stack describes one mapping: `bytes` usable ones from `base` up, and the guard
// below `base`. A value; the pool owns the memory.
struct Stack {
  std::byte* base = nullptr;
  std::size_t bytes = 0;
  unsigned valgrind_id = 0;

  std::byte* top() const noexcept { return base + bytes; }
  bool guard_contains(const void* address) const noexcept;

  // Bytes between the deepest one ever written and the top.
  std::size_t high_water() const noexcept;

  // Gives the pages wholly below `from` back to the kernel, if any is dirty.
  void release_below(const std::byte* from) const noexcept;
};

// StackPool hands out stacks of any size and takes them back. The last ones given
// back are the first handed out again, with their dirty pages, as these are still
// in the cache; those beyond `kHot` keep their address range only.
class StackPool {
 public:
  StackPool() = default;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;
  ~StackPool();

  // Returns a stack of at least `bytes`, or one without base when mmap() or mprotect()
  // failed, or there is no memory; errno then says why.
  Stack acquire(std::size_t bytes) noexcept;
  void release(const Stack& stack) noexcept;

  std::size_t pooled() const noexcept { return pooled_; }

 private:
  static constexpr std::size_t kHot = 64;
  static constexpr std::size_t kKept = 16384;

  struct Shelf {
    std::vector<Stack> hot;
    std::vector<Stack> cold;
  };

  // Null, and errno says why, if there is no memory for a new one.
  Shelf* shelf_of(std::size_t bytes) noexcept;
  bool keep(const Stack& stack) noexcept;

  std::map<std::size_t, Shelf> shelves_;  // By size.
  std::size_t pooled_ = 0;
};

}  // namespace heddle::fiber
