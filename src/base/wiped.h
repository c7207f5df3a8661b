// Wiped: text that must not stay behind in freed memory.
#pragma once

#include <string>

#include <string.h>

namespace heddle {

// Overwrites what `text` holds, and empties it.
inline void wipe(std::string& text) noexcept {
  ::explicit_bzero(text.data(), text.size());
  text.clear();
}

// Wiped wipes a string when it goes. The string must not grow beyond what it has reserved: that
// would leave a copy.
class Wiped {
 public:
  explicit Wiped(std::string& text) noexcept : text_(text) {}
  Wiped(const Wiped&) = delete;
  Wiped& operator=(const Wiped&) = delete;
  ~Wiped() { wipe(text_); }

 private:
  std::string& text_;
};

}  // namespace heddle
