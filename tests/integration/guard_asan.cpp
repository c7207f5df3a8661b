// guard_plugin as a program of its own, built with AddressSanitizer: its runtime is a library that
// wants to be the first.
#include "guard_hosts.h"

int main() {
  const guard_hosts::Pair pair;
  guard_hosts::parse_junk();
  return guard_hosts::is_told_the_truth(pair.client()) ? 0 : 3;
}
