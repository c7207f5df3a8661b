// The one line that a program with a bug ends with.
#include "base/die.h"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace heddle {

void die(const char* format, ...) noexcept {
  std::va_list arguments;
  va_start(arguments, format);
  std::array<char, 512> text{};
  (void)std::vsnprintf(text.data(), text.size(), format, arguments);
  va_end(arguments);
  (void)std::fprintf(stderr, "heddle: %s\n", text.data());
  std::abort();
}

}  // namespace heddle
