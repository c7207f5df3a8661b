// What a callback does to OpenSSL's error queue, and what becomes of its failure.
#include "tls/state/callback_scope.h"

#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "heddle/tls/context.h"

#include "support/numbered_entries.h"
#include "support/raw_tls.h"
#include "tls/state/callback_state.h"

namespace heddle {
namespace {

class CallbackScopeTest : public testing::Test {
 protected:
  CallbackScopeTest() { ERR_clear_error(); }
  ~CallbackScopeTest() override { ERR_clear_error(); }

  Context context_ = Context::create(Role::kServer).value();
  openssl::SslPtr ssl_{SSL_new(context_.native_handle())};
};

TEST_F(CallbackScopeTest, QueueOfTheCallerIsAsideMeanwhileAndBackAfterwardsWithItsMarks) {
  test::raise_numbers(1, 3);
  ASSERT_EQ(ERR_set_mark(), 1);
  test::raise_numbers(3, 5);
  const auto answer = tls::ask<int>("test", ssl_.get(), []() -> Result<int> {
    EXPECT_EQ(ERR_peek_error(), 0U);
    test::leave_entry(test::Leak::kOther);
    test::leave_entry(test::Leak::kSystem);
    return 42;
  });
  EXPECT_EQ(answer, 42);
  EXPECT_EQ(ERR_pop_to_mark(), 1);
  EXPECT_EQ(test::take_all_numbers(), test::numbers(1, 3));
}

TEST_F(CallbackScopeTest, ExceptionWithoutAnEngineBecomesAnEntry) {
  const auto answer = tls::ask<int>("test", ssl_.get(), []() -> Result<int> {
    test::leave_entry(test::Leak::kOther);
    throw std::runtime_error("the vault is on fire");
  });
  EXPECT_FALSE(answer);
  const char* text = nullptr;
  const unsigned long code = ERR_get_error_all(nullptr, nullptr, nullptr, &text, nullptr);
  EXPECT_EQ(ERR_GET_LIB(code), ERR_LIB_SSL);
  EXPECT_EQ(ERR_GET_REASON(code), SSL_R_CALLBACK_FAILED);
  EXPECT_STREQ(text, "the vault is on fire");
  EXPECT_EQ(ERR_peek_error(), 0U);
}

TEST_F(CallbackScopeTest, WhatIsNoExceptionObjectBecomesAnEntryToo) {
  tls::tell("test", ssl_.get(), []() -> Result<void> { throw 42; });
  EXPECT_EQ(ERR_GET_REASON(ERR_peek_error()), SSL_R_CALLBACK_FAILED);
}

TEST_F(CallbackScopeTest, ErrorWithoutAnEngineBecomesAnEntry) {
  const auto answer = tls::ask<int>("test", ssl_.get(), []() -> Result<int> {
    return Error{.code = Errc::kUnreachable, .operation = "ask"}.with("the vault");
  });
  EXPECT_FALSE(answer);
  const char* text = nullptr;
  (void)ERR_get_error_all(nullptr, nullptr, nullptr, &text, nullptr);
  EXPECT_STREQ(text, "the vault: ask: unreachable");
}

// Both would free it.
TEST_F(CallbackScopeTest, CopyOfAnSslDoesNotShareWhatCallbacksRemember) {
  tls::ConnectionNotes::attach(ssl_.get()).psk_identity = "me";
  const openssl::SslPtr copy(SSL_dup(ssl_.get()));
  ASSERT_TRUE(copy);
  EXPECT_EQ(tls::ConnectionNotes::of(copy.get()), nullptr);
  EXPECT_EQ(tls::ConnectionNotes::of(ssl_.get())->psk_identity, "me");
}

}  // namespace
}  // namespace heddle
