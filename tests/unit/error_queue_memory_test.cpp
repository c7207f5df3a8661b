// The error queue when there is no memory for it: the entries are dropped. It neither ends the
// process, nor hangs, nor leaves them to another fiber.
#include <thread>
#include <utility>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/opensslv.h>

#include "heddle/error_queue.h"

#include "support/numbered_entries.h"
#include "support/short_memory.h"

namespace heddle {
namespace {

// Before OpenSSL's first allocation: later it refuses.
const int kInstalled = test::ShortMemory::take_over_openssl();

class ErrorQueueMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(kInstalled, 1);
    ERR_clear_error();
    test::raise_numbers(1, 3);
  }
  void TearDown() override { ERR_clear_error(); }

  ThreadErrorQueue queue_;
};

// Before OpenSSL 4.0 nothing is allocated for it. Since then it may be dropped.
TEST_F(ErrorQueueMemoryTest, WhatCannotBeSetAsideIsDropped) {
  test::ShortMemory::fail_all();
  ErrorQueue aside = queue_.set_aside();
  const bool left = !queue_.empty();
  test::ShortMemory::stop();
  EXPECT_FALSE(left);
  if (OPENSSL_VERSION_NUMBER < 0x40000000L) {
    EXPECT_FALSE(aside.empty());
  }
}

// A thread that has not used OpenSSL gets its queue when it is first asked for.
TEST_F(ErrorQueueMemoryTest, WhatCannotBeBroughtBackIsDropped) {
  if (OPENSSL_VERSION_NUMBER >= 0x30600000L) {
    GTEST_SKIP() << "from 3.6 on ERR_new() and CRYPTO_malloc() call each other without end";
  }
  ErrorQueue aside = queue_.set_aside();
  bool left = true;
  std::thread([&] {
    test::ShortMemory::fail_all();
    ThreadErrorQueue queue;
    queue.bring_back(std::move(aside));
    left = !queue.empty();
    test::ShortMemory::stop();
  }).join();
  EXPECT_FALSE(left);
}

}  // namespace
}  // namespace heddle
