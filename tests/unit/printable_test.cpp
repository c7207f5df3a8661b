// Text of strangers, made safe to show.
#include "base/printable.h"

#include <string>

#include <gtest/gtest.h>

namespace heddle {
namespace {

using std::string_literals::operator""s;

TEST(PrintableTest, ReadableTextStaysAsItIs) {
  for (const char* text : {"", "CN=example, O=A & B", "M\u00fcnchen", "\u4f8b\u3048",
                           "\u05d0\u05d1", "\U0001f600", "a\\b",
                           "\u00a0\u061b\u061d\u200d\u2010"
                           "\u2027\u202f\u2065\u206a\ud7ff\ue000\U0010ffff"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(PrintableTest, ControlCharactersAreEscaped) {
  EXPECT_EQ(printable("\0\x01\t\r\n\x1b[31m\x1f\x7f"s), "\\00\\01\\09\\0D\\0A\\1B[31m\\1F\\7F");
  EXPECT_EQ(printable("\u0080\u009b\u009f"), "\\C2\\80\\C2\\9B\\C2\\9F");
  EXPECT_EQ(printable("\u2028\u2029"), "\\E2\\80\\A8\\E2\\80\\A9");
}

TEST(PrintableTest, WhatChangesTheDirectionOfTextIsEscaped) {
  for (const char* text : {"\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d",
                           "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"}) {
    const std::string shown = printable(text);
    EXPECT_EQ(shown.size(), 3 * std::string(text).size()) << shown;
    EXPECT_EQ(shown.front(), '\\');
  }
  EXPECT_EQ(printable("a\u202eb"), "a\\E2\\80\\AEb");
}

TEST(PrintableTest, BytesThatAreNoUtf8AreEscaped) {
  EXPECT_EQ(printable("\x80 \xbf \xff"), "\\80 \\BF \\FF");
  EXPECT_EQ(printable("\xc3"), "\\C3");                          // Cut off.
  EXPECT_EQ(printable("\xe4\xbe"), "\\E4\\BE");                  // Likewise.
  EXPECT_EQ(printable("\xe4\xbex"), "\\E4\\BEx");                // Another one begins.
  EXPECT_EQ(printable("\xc0\xaf"), "\\C0\\AF");                  // Overlong.
  EXPECT_EQ(printable("\xc1\xbf"), "\\C1\\BF");                  // Likewise.
  EXPECT_EQ(printable("\xe0\x9f\xbf"), "\\E0\\9F\\BF");          // Likewise.
  EXPECT_EQ(printable("\xf0\x8f\xbf\xbf"), "\\F0\\8F\\BF\\BF");  // Likewise.
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\ED\\A0\\80");          // A surrogate.
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\F4\\90\\80\\80");  // Beyond U+10FFFF.
  EXPECT_EQ(printable("\xf5\x80\x80\x80"), "\\F5\\80\\80\\80");
}

TEST(PrintableTest, LongTextIsCutBetweenCharacters) {
  EXPECT_EQ(printable("0123456789", 10), "0123456789");
  EXPECT_EQ(printable("0123456789a", 10), "0123456...");
  EXPECT_EQ(printable("012345\u00fc\u00fc\u00fc", 10), "012345...");
  EXPECT_EQ(printable("01234\n\n\n", 10), "01234...");
  EXPECT_EQ(printable(std::string(100'000, '\n'), 160).size(), 159U);
}

}  // namespace
}  // namespace heddle
