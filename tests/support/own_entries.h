// An application's own entries in the error queue, which no call of ours may touch.
#pragma once

#include <gtest/gtest.h>
#include <openssl/err.h>

namespace heddle::test {

// OwnEntries leaves entries with a mark in the thread's queue, and expects them, and no others,
// when it ends. Declare it last in a fixture: then all else of the fixture is still there.
class OwnEntries {
 public:
  OwnEntries() {
    ERR_clear_error();
    ERR_raise_data(ERR_LIB_USER, 42, "left by the application");
    ERR_set_mark();
    ERR_raise(ERR_LIB_USER, 43);
  }
  OwnEntries(const OwnEntries&) = delete;
  OwnEntries& operator=(const OwnEntries&) = delete;
  ~OwnEntries() {
    EXPECT_EQ(ERR_GET_REASON(ERR_peek_last_error()), 43);
    EXPECT_EQ(ERR_pop_to_mark(), 1);
    const char* text = nullptr;
    const unsigned long code = ERR_get_error_all(nullptr, nullptr, nullptr, &text, nullptr);
    EXPECT_EQ(ERR_GET_REASON(code), 42);
    EXPECT_STREQ(text, "left by the application");
    EXPECT_EQ(ERR_peek_error(), 0U);
  }
};

}  // namespace heddle::test
