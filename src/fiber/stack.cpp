// Mapping, pooling and measuring fiber stacks.
#include "fiber/stack.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <new>
#include <utility>

#include <unistd.h>

#include "fiber/sanitizer.h"

namespace heddle::fiber {
namespace {

// Wider than a page: a frame with a large array would step over one page.
constexpr std::size_t kGuardBytes = std::size_t{64} * 1024;

std::size_t page_bytes() noexcept {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

Stack map_stack(std::size_t bytes) noexcept {
  void* const low = ::mmap(nullptr, kGuardBytes + bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (low == MAP_FAILED) return {};
  if (::mprotect(low, kGuardBytes, PROT_NONE) != 0) {
    const int saved_errno = errno;
    (void)::munmap(low, kGuardBytes + bytes);
    errno = saved_errno;
    return {};
  }
  Stack stack{static_cast<std::byte*>(low) + kGuardBytes, bytes};
  stack.valgrind_id = sanitizer::register_stack(stack.base, stack.top());
  return stack;
}

void unmap_stack(const Stack& stack) noexcept {
  sanitizer::deregister_stack(stack.valgrind_id);
  (void)::munmap(stack.base - kGuardBytes, kGuardBytes + stack.bytes);
}

// Sanitizers would call dead frames off limits, and live ones not ours.
[[gnu::no_sanitize_address, gnu::no_sanitize_thread]] std::size_t leading_zero_bytes(
    const std::byte* from, std::size_t bytes) noexcept {
  const auto* const words = reinterpret_cast<const volatile std::uint64_t*>(from);
  std::size_t i = 0;
  while (i < bytes / sizeof(*words) && words[i] == 0) ++i;
  return i * sizeof(*words);
}

}  // namespace

bool Stack::guard_contains(const void* address) const noexcept {
  const auto* byte = static_cast<const std::byte*>(address);
  return base != nullptr && byte < base && byte >= base - kGuardBytes;
}

// Fresh anonymous pages read as zero, so the lowest word that is not zero was the
// deepest one written. Pages that are not resident were never touched.
std::size_t Stack::high_water() const noexcept {
  const std::size_t page = page_bytes();
  for (std::byte* at = base; at < top(); at += page) {
    unsigned char resident = 0;
    if (::mincore(at, page, &resident) == 0 && (resident & 1U) == 0) continue;
    const std::size_t zeros = leading_zero_bytes(at, page);
    if (zeros < page) return static_cast<std::size_t>(top() - at) - zeros;
  }
  return 0;
}

void Stack::release_below(const std::byte* from) const noexcept {
  const std::size_t page = page_bytes();
  const auto offset = reinterpret_cast<std::uintptr_t>(from) % page;
  const std::byte* const end = from - offset;
  if (end <= base) return;
  (void)::madvise(base, static_cast<std::size_t>(end - base), MADV_DONTNEED);
}

StackPool::~StackPool() {
  for (const auto& [bytes, shelf] : shelves_) {
    for (const Stack& stack : shelf.hot) unmap_stack(stack);
    for (const Stack& stack : shelf.cold) unmap_stack(stack);
  }
}

Stack StackPool::acquire(std::size_t bytes) noexcept {
  const std::size_t page = page_bytes();
  if (bytes > SIZE_MAX - kGuardBytes - page) {
    errno = ENOMEM;
    return {};
  }
  const std::size_t rounded = (bytes + page - 1) / page * page;
  Shelf* const shelf = shelf_of(rounded);
  if (shelf == nullptr) return {};
  auto& from = shelf->hot.empty() ? shelf->cold : shelf->hot;
  if (from.empty()) return map_stack(rounded);
  const Stack stack = from.back();
  from.pop_back();
  --pooled_;
  sanitizer::unpoison(stack.base, stack.bytes);
  return stack;
}

StackPool::Shelf* StackPool::shelf_of(std::size_t bytes) noexcept {
  try {
    return &shelves_[bytes];
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return nullptr;
  }
}

void StackPool::release(const Stack& stack) noexcept {
  if (!keep(stack)) unmap_stack(stack);
}

// Whether there is room for it.
bool StackPool::keep(const Stack& stack) noexcept {
  const auto shelf = shelves_.find(stack.bytes);
  if (shelf == shelves_.end()) return false;
  const bool is_hot = shelf->second.hot.size() < kHot;
  auto& place = is_hot ? shelf->second.hot : shelf->second.cold;
  if (!is_hot && place.size() >= kKept) return false;
  try {
    place.push_back(stack);
  } catch (const std::bad_alloc&) {
    return false;
  }
  if (!is_hot) (void)::madvise(stack.base, stack.bytes, MADV_DONTNEED);
  ++pooled_;
  return true;
}

}  // namespace heddle::fiber
