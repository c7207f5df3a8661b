// Precompiled for src/cli; see std.h.
#include <fmt/format.h>

#include "pch/std.h"
