// Precompiled for the tests; see src/pch/std.h.
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>

#include <gtest/gtest.h>

#include "pch/openssl.h"
