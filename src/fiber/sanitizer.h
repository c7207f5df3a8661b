// Tells ASan, TSan and valgrind about stack switches. Boost.Context does so only
// in its ucontext build. Every function is empty in a build without them.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define HEDDLE_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEDDLE_HAS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define HEDDLE_HAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HEDDLE_HAS_TSAN 1
#endif
#endif

#ifdef HEDDLE_HAS_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef HEDDLE_HAS_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#ifdef HEDDLE_WITH_VALGRIND
#include <valgrind/valgrind.h>
#endif

namespace heddle::fiber::sanitizer {

// What one context needs across a switch.
struct ContextInfo {
  const void* stack_base = nullptr;
  std::size_t stack_bytes = 0;
  void* asan_fake_stack = nullptr;
  void* tsan_fiber = nullptr;
};

inline void adopt_thread([[maybe_unused]] ContextInfo& info) noexcept {
#ifdef HEDDLE_HAS_TSAN
  info.tsan_fiber = __tsan_get_current_fiber();
#endif
}

inline void create([[maybe_unused]] ContextInfo& info, const void* base,
                   std::size_t bytes) noexcept {
  info.stack_base = base;
  info.stack_bytes = bytes;
#ifdef HEDDLE_HAS_TSAN
  info.tsan_fiber = __tsan_create_fiber(0);
#endif
}

inline void destroy([[maybe_unused]] ContextInfo& info) noexcept {
#ifdef HEDDLE_HAS_TSAN
  __tsan_destroy_fiber(info.tsan_fiber);
#endif
}

// Right before the jump. `from_ends`: it will never run again.
inline void before_switch([[maybe_unused]] ContextInfo& from, [[maybe_unused]] ContextInfo& to,
                          [[maybe_unused]] bool from_ends) noexcept {
#ifdef HEDDLE_HAS_ASAN
  __sanitizer_start_switch_fiber(from_ends ? nullptr : &from.asan_fake_stack, to.stack_base,
                                 to.stack_bytes);
#endif
#ifdef HEDDLE_HAS_TSAN
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
}

// Right after the jump, on the stack of `now`, coming from `from`: whose stack ASan
// then tells us, which is how the thread's own is learnt.
inline void after_switch([[maybe_unused]] ContextInfo& now,
                         [[maybe_unused]] ContextInfo& from) noexcept {
#ifdef HEDDLE_HAS_ASAN
  __sanitizer_finish_switch_fiber(now.asan_fake_stack, &from.stack_base, &from.stack_bytes);
#endif
}

inline void unpoison([[maybe_unused]] const void* from,
                     [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef HEDDLE_HAS_ASAN
  __asan_unpoison_memory_region(from, bytes);
#endif
}

inline unsigned register_stack([[maybe_unused]] const void* base,
                               [[maybe_unused]] const void* top) noexcept {
#ifdef HEDDLE_WITH_VALGRIND
  return VALGRIND_STACK_REGISTER(base, top);
#else
  return 0;
#endif
}

inline void deregister_stack([[maybe_unused]] unsigned id) noexcept {
#ifdef HEDDLE_WITH_VALGRIND
  VALGRIND_STACK_DEREGISTER(id);
#endif
}

}  // namespace heddle::fiber::sanitizer
