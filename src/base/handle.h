// What a movable handle stands for, or the line that a use of an empty one ends with.
#pragma once

#include "base/die.h"

namespace heddle {

// `pointer` is what a handle holds, `handle` its class. Null once the handle was moved from.
template <typename Pointer>
auto& behind(const Pointer& pointer, const char* handle, const char* call) noexcept {
  if (pointer == nullptr) [[unlikely]] {
    die("%s::%s() of a handle that was moved from: it may only be assigned to and destroyed",
        handle, call);
  }
  return *pointer;
}

}  // namespace heddle
