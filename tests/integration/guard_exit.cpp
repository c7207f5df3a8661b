// Preloaded beside the guard: has an _exit() of its own, as sanitizers' runtimes and tracers do.
#include <sys/syscall.h>

#include <string_view>

#include <unistd.h>

extern "C" [[gnu::visibility("default")]] void _exit(int status) {
  constexpr std::string_view kSeen = "guard_exit: seen\n";
  (void)!write(STDOUT_FILENO, kSeen.data(), kSeen.size());
  for (;;) (void)syscall(SYS_exit_group, status);
}
