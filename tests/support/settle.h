// Lets everything happen that can happen now.
#pragma once

#include <gtest/gtest.h>

#include "heddle/fiber.h"

namespace heddle::test {

// In a simulation, time passes only when no fiber is ready: the others have run as far as they can.
inline void settle() {
  ASSERT_TRUE(this_fiber::sleep_until(this_fiber::after(Duration(1))));
}

// On a runtime: often enough for whatever the kernel has ready.
inline void settle_runtime() {
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(this_fiber::yield());
}

}  // namespace heddle::test
