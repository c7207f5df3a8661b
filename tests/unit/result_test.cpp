// Result: a value or an Error, and what happens to a program that mistakes one for the other.
#include "heddle/result.h"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace heddle {
namespace {

constexpr Error kTimeout{.code = Errc::kTimedOut, .operation = "read"};

TEST(ResultTest, ValueIsTakenByAllItsNames) {
  Result<std::string> result = std::string("text");
  const Result<std::string>& constant = result;
  EXPECT_EQ(*constant, "text");
  EXPECT_EQ(constant->size(), 4U);
  EXPECT_EQ(constant.value(), "text");
  EXPECT_EQ(constant.value_or("other"), "text");
  result.value().append("s");
  EXPECT_EQ(*result, "texts");
  EXPECT_EQ(std::move(result).value(), "texts");
}

TEST(ResultTest, ErrorIsThrownOrReplaced) {
  const Result<std::string> result = kTimeout;
  EXPECT_EQ(result.error().code, Errc::kTimedOut);
  EXPECT_EQ(result.value_or("other"), "other");
  EXPECT_THROW((void)result.value(), Exception);
  EXPECT_EQ(Result<int>(kTimeout).value_or(7), 7);
}

TEST(ResultTest, ValueThatIsOnlyMovedMovesOut) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(3);
  EXPECT_EQ(*std::move(result).value_or(nullptr), 3);
}

TEST(ResultDeathTest, ValueOfAnErrorEndsTheProgramWithThatError) {
  Result<std::string> result = kTimeout;
  constexpr const char* kSaid =
      "the value of a Result was taken that holds an error .*: read: timed out";
  EXPECT_DEATH((void)*result, kSaid);
  EXPECT_DEATH((void)result->size(), kSaid);
}

TEST(ResultDeathTest, ErrorOfAValueEndsTheProgram) {
  EXPECT_DEATH((void)Result<int>(1).error(), "the error of a Result was taken that holds a value");
  EXPECT_DEATH((void)Result<void>().error(), "the error of a Result was taken that holds a value");
}

}  // namespace
}  // namespace heddle
