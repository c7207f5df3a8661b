// dlopen() and dlmopen(): see loading.h.
//
// A library that is loaded with RTLD_DEEPBIND finds SSL_read() in what it is linked with, before
// it looks at what is preloaded. Therefore the flag is left out. The sanitizers' runtimes end the
// program for it, and VirtualGL leaves it out as well. Into another namespace nothing is preloaded
// at all; that can only be told.
//
// Both functions look at who calls them: the caller's namespace and its DT_RUNPATH decide what is
// loaded. So they are left by a jump, with the program's return address on the stack.
#include "guard/loading.h"

#include <atomic>
#include <cstdint>

#include <dlfcn.h>

#include "guard/errno_kept.h"
#include "guard/next.h"
#include "guard/python_layout.h"
#include "guard/settings.h"
#include "guard/sink.h"
#include "guard/text.h"
#include "guard/unwind.h"

namespace heddle::guard {
namespace {

constinit std::atomic<bool> told_of_deepbind{false};
constinit std::atomic<bool> told_of_namespace{false};

void tell_once(std::atomic<bool>& told, const char* call, const char* path, const char* remark) {
  if (told.exchange(true)) return;
  std::array<char, 768> room{};
  Text text(room);
  text << call << "(";
  text.printable(path == nullptr ? "the program itself" : path) << ") " << remark;
  write_note(text.view());
}

int seen_flags(const char* call, const char* path, int flags) {
  if (mode() == Mode::kOff || (flags & RTLD_DEEPBIND) == 0) return flags;
  tell_once(told_of_deepbind, call, path,
            "asks for RTLD_DEEPBIND: that is left out, here and later, so that TLS calls in there "
            "are seen");
  return flags & ~RTLD_DEEPBIND;
}

void look_at_namespace(Lmid_t space, const char* path) {
  if (mode() == Mode::kOff || space == LM_ID_BASE) return;
  tell_once(told_of_namespace, "dlmopen", path,
            "loads into a namespace of its own: TLS calls in there are not seen");
}

}  // namespace

bool used_other_namespaces() {
  return told_of_namespace.load(std::memory_order_relaxed);
}

extern "C" {

// What to go on with. In two registers, where the jumps below find it.
struct HeddleGuardOnward {
  void (*function)();
  std::intptr_t flags;
};

// NOLINTNEXTLINE(readability-identifier-naming): it is called from assembly.
[[gnu::used]] HeddleGuardOnward heddle_guard_before_dlopen(const char* path, int flags) {
  const ErrnoKept errno_kept;
  look_for_python_again();
  forget_known_rows();
  return {.function = next_definition<void()>("dlopen"),
          .flags = seen_flags("dlopen", path, flags)};
}

// NOLINTNEXTLINE(readability-identifier-naming): it is called from assembly.
[[gnu::used]] HeddleGuardOnward heddle_guard_before_dlmopen(Lmid_t space, const char* path,
                                                            int flags) {
  const ErrnoKept errno_kept;
  look_at_namespace(space, path);
  return {.function = next_definition<void()>("dlmopen"),
          .flags = space == LM_ID_BASE ? seen_flags("dlmopen", path, flags) : flags};
}

#pragma GCC visibility push(default)

#if defined(__x86_64__)

[[gnu::naked]] void* dlopen(const char*, int) noexcept {
  asm("pushq %rdi\n\t"
      ".cfi_adjust_cfa_offset 8\n\t"
      "call heddle_guard_before_dlopen\n\t"
      "popq %rdi\n\t"
      ".cfi_adjust_cfa_offset -8\n\t"
      "movl %edx, %esi\n\t"
      "jmp *%rax");
}

[[gnu::naked]] void* dlmopen(Lmid_t, const char*, int) noexcept {
  asm("pushq %rdi\n\t"
      "pushq %rsi\n\t"
      "subq $8, %rsp\n\t"
      ".cfi_adjust_cfa_offset 24\n\t"
      "call heddle_guard_before_dlmopen\n\t"  // Leaves the flags where the third argument goes.
      "addq $8, %rsp\n\t"
      "popq %rsi\n\t"
      "popq %rdi\n\t"
      ".cfi_adjust_cfa_offset -24\n\t"
      "jmp *%rax");
}

#else

// Elsewhere the guard is the caller, whose DT_RUNPATH is empty.
void* dlopen(const char* path, int flags) noexcept {
  const HeddleGuardOnward onward = heddle_guard_before_dlopen(path, flags);
  return reinterpret_cast<decltype(&dlopen)>(onward.function)(path, static_cast<int>(onward.flags));
}

void* dlmopen(Lmid_t space, const char* path, int flags) noexcept {
  const HeddleGuardOnward onward = heddle_guard_before_dlmopen(space, path, flags);
  return reinterpret_cast<decltype(&dlmopen)>(onward.function)(space, path,
                                                               static_cast<int>(onward.flags));
}

#endif

#pragma GCC visibility pop
}

}  // namespace heddle::guard
