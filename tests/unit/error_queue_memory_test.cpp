// The error queue when there is no memory for it: the process ends and says where. It neither
// hangs, nor follows a null pointer, nor goes on with another fiber's entries.
#include <atomic>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/opensslv.h>

#include "heddle/error_queue.h"

#include "support/numbered_entries.h"

namespace heddle {
namespace {

std::atomic<bool> out_of_memory = false;

void* allocate(std::size_t size, const char* /*file*/, int /*line*/) {
  return out_of_memory ? nullptr : std::malloc(size);
}
void* allocate_again(void* old, std::size_t size, const char* /*file*/, int /*line*/) {
  return out_of_memory ? nullptr : std::realloc(old, size);
}
void release(void* memory, const char* /*file*/, int /*line*/) {
  std::free(memory);
}

// Before OpenSSL's first allocation: later it refuses.
const int kInstalled = CRYPTO_set_mem_functions(allocate, allocate_again, release);

class ErrorQueueMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    ASSERT_EQ(kInstalled, 1);
    ERR_clear_error();
    test::raise_numbers(1, 3);
  }
  void TearDown() override { ERR_clear_error(); }

  ThreadErrorQueue queue_;
};

TEST_F(ErrorQueueMemoryTest, SettingAsideWorksOrEndsTheProcess) {
  const auto set_aside = [this] {
    out_of_memory = true;
    const ErrorQueue aside = queue_.set_aside();
    std::_Exit(queue_.empty() && !aside.empty() ? 0 : 1);
  };
#if OPENSSL_VERSION_NUMBER < 0x40000000L
  // Nothing of OpenSSL's is allocated.
  EXPECT_EXIT(set_aside(), testing::ExitedWithCode(0), "");
#else
  EXPECT_DEATH(set_aside(), "assertion failed: layer.entries");
#endif
}

// A thread that has not used OpenSSL gets its queue when it is first asked for.
#if OPENSSL_VERSION_NUMBER < 0x40000000L
TEST_F(ErrorQueueMemoryTest, BringingBackToAThreadWithoutAQueueEndsTheProcess) {
  ErrorQueue aside = queue_.set_aside();
  const auto bring_back = [&] {
    out_of_memory = true;
    std::thread([&] { ThreadErrorQueue().bring_back(std::move(aside)); }).join();
    std::_Exit(0);
  };
  EXPECT_DEATH(bring_back(), "assertion failed: state");
}
#endif

}  // namespace
}  // namespace heddle
