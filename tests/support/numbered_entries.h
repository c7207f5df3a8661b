// Entries in the error queue that tests can tell apart: their reason is a number.
#pragma once

#include <vector>

#include <openssl/err.h>

namespace heddle::test {

inline void raise_numbers(int from, int until) {
  for (int i = from; i < until; ++i) {
    ERR_raise_data(ERR_LIB_USER, i, "text of %d", i);
  }
}

inline std::vector<int> take_all_numbers() {
  std::vector<int> all;
  while (const unsigned long code = ERR_get_error()) all.push_back(ERR_GET_REASON(code));
  return all;
}

inline std::vector<int> numbers(int from, int until) {
  std::vector<int> all;
  for (int i = from; i < until; ++i) all.push_back(i);
  return all;
}

}  // namespace heddle::test
