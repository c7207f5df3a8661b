// A plugin that is linked with OpenSSL, for a program that is not: as CPython's _ssl module.
#include "guard_hosts.h"

// Returns 0 if a healthy connection was not called dead, else 3.
extern "C" [[gnu::visibility("default")]] int run_plugin() {
  const guard_hosts::Pair pair;
  guard_hosts::parse_junk();
  return guard_hosts::is_told_the_truth(pair.client()) ? 0 : 3;
}
