// What GoogleTest prints of scenarios and verdicts, instead of their bytes.
#pragma once

#include <ostream>

#include "heddle/stale.h"

namespace heddle::stale {

inline void PrintTo(const Scenario& scenario, std::ostream* out) {
  *out << scenario.id();
}

inline void PrintTo(Verdict verdict, std::ostream* out) {
  *out << name_of(verdict);
}

}  // namespace heddle::stale
