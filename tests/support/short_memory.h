// OpenSSL's allocations, made to fail on request. One program includes this in one file.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <openssl/crypto.h>

namespace heddle::test {

// ShortMemory decides which allocation fails.
//
// Threads: any, but one at a time knows which allocation is the nth.
class ShortMemory {
 public:
  // The nth from now on fails, counted from 1, and no other.
  static void fail_nth(std::uint64_t n) noexcept {
    failed_ = false;
    left_ = n;
  }
  static void fail_all() noexcept { all_ = true; }
  static void stop() noexcept {
    left_ = 0;
    all_ = false;
  }

  // Whether the nth was reached.
  static bool has_failed() noexcept { return failed_; }

  // Whether this allocation is to fail.
  static bool strikes() noexcept {
    if (all_) return true;
    if (left_ == 0 || --left_ > 0) return false;
    failed_ = true;
    return true;
  }

  // Takes over OpenSSL's allocations. Returns 1, or 0 if it has allocated something before.
  static int take_over_openssl() noexcept {
    return CRYPTO_set_mem_functions(
        [](std::size_t bytes, const char* /*file*/, int /*line*/) -> void* {
          return strikes() ? nullptr : std::malloc(bytes);
        },
        [](void* old, std::size_t bytes, const char* /*file*/, int /*line*/) -> void* {
          return strikes() ? nullptr : std::realloc(old, bytes);
        },
        [](void* memory, const char* /*file*/, int /*line*/) { std::free(memory); });
  }

 private:
  static inline std::atomic<bool> all_ = false;
  static inline std::atomic<bool> failed_ = false;
  static inline std::atomic<std::uint64_t> left_ = 0;
};

}  // namespace heddle::test
