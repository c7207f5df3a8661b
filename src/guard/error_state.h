// A thread's error queue, as OpenSSL 3 lays it out.
#pragma once

#include <array>
#include <cstddef>

#include <openssl/err.h>

namespace heddle::guard {

inline constexpr std::size_t kEntriesMax = 16;  // ERR_NUM_ERRORS

// ERR_FLAG_CLEAR: OpenSSL skips such entries. A successful RSA decryption leaves one.
inline constexpr int kDeadEntry = 0x02;

// struct err_state_st of OpenSSL 3.0 to 3.6. Copied, as the flag is, because the headers of 4.0 do
// not have it, and the OpenSSL that is watched need not be the one that this is compiled with.
struct ErrorState {
  std::array<int, kEntriesMax> flags;
  std::array<int, kEntriesMax> marks;
  std::array<unsigned long, kEntriesMax> codes;
  std::array<const char*, kEntriesMax> data;
  std::array<std::size_t, kEntriesMax> data_size;
  std::array<int, kEntriesMax> data_flags;
  std::array<const char*, kEntriesMax> file;
  std::array<int, kEntriesMax> line;
  std::array<const char*, kEntriesMax> function;
  // The slots form a ring: `bottom` is the one before the oldest entry, `top` the newest.
  int top;
  int bottom;
};
#if OPENSSL_VERSION_MAJOR == 3 && !defined(OPENSSL_NO_DEPRECATED_3_0)
static_assert(sizeof(ErrorState) == sizeof(err_state_st));
static_assert(kDeadEntry == ERR_FLAG_CLEAR);
#endif

}  // namespace heddle::guard
