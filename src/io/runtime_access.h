// What this library's own files may have of a Runtime.
#pragma once

#include "heddle/result.h"
#include "heddle/runtime.h"

namespace heddle::io {

class RuntimeAccess {
 public:
  static Reactor& reactor(Runtime& runtime) noexcept;
  static Result<Resolver*> resolver(Runtime& runtime);
};

}  // namespace heddle::io
