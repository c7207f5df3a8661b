// OpenSSL is asked only once a client's first message is whole, or cannot become one.
#include "tls/wire/first_message.h"

#include <algorithm>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace heddle::tls {
namespace {

bool has(std::string_view bytes) {
  return has_first_message(std::as_bytes(std::span(bytes)));
}

std::string record(std::string_view content) {
  std::string text("\x16\x03\x01", 3);
  text += static_cast<char>(content.size() >> 8);
  text += static_cast<char>(content.size());
  return text.append(content);
}

// A ClientHello by its header; what it says is OpenSSL's concern.
std::string hello(std::size_t bytes) {
  const auto byte = [bytes](unsigned shift) { return static_cast<char>(bytes >> shift); };
  return std::string{1, byte(16), byte(8), byte(0)} + std::string(bytes, 'h');
}

std::string in_records_of(std::size_t piece, std::string_view message) {
  std::string records;
  for (; !message.empty(); message.remove_prefix(std::min(piece, message.size()))) {
    records += record(message.substr(0, piece));
  }
  return records;
}

TEST(FirstMessageTest, EveryByteOfItIsAwaitedHoweverItIsCutIntoRecords) {
  for (const std::size_t piece : {1U, 2U, 3U, 5U, 300U, 1000U}) {
    const std::string all = in_records_of(piece, hello(517));
    for (std::size_t count = 0; count < all.size(); ++count) {
      ASSERT_FALSE(has(std::string_view(all).substr(0, count))) << piece << " " << count;
    }
    EXPECT_TRUE(has(all)) << piece;
    EXPECT_TRUE(has(all + "early data")) << piece;
  }
}

TEST(FirstMessageTest, EmptyMessageEndsWithItsHeader) {
  EXPECT_TRUE(has(record(hello(0))));
}

TEST(FirstMessageTest, WhatIsNoHandshakeIsJudgedAtOnce) {
  EXPECT_TRUE(has("G"));                                        // Plain HTTP.
  EXPECT_TRUE(has("\x80"));                                     // A ClientHello as of SSL 2.0.
  EXPECT_TRUE(has(std::string_view("\x15\x03\x01\0\2", 5)));    // An alert.
  EXPECT_TRUE(has(std::string_view("\x16\x02\x01\0\2", 5)));    // No version of TLS.
  EXPECT_TRUE(has(std::string_view("\x16\x03\x01\0\0", 5)));    // Empty: RFC 8446, section 5.1.
  EXPECT_TRUE(has(std::string_view("\x16\x03\x01\x40\1", 5)));  // Longer than any may be.
  EXPECT_TRUE(has(record("\2")));                               // Another handshake message.
  EXPECT_FALSE(has(std::string_view("\x16\x03\x01\x40\0", 5)));
  EXPECT_TRUE(has(in_records_of(2, hello(300)).substr(0, 7) + "\x17"));
}

TEST(FirstMessageTest, LongerMessageThanARecordIsLeftToOpenSsl) {
  const std::string all = in_records_of(16384, hello(20'000));
  EXPECT_FALSE(has(std::string_view(all).substr(0, 5 + 16383)));
  EXPECT_TRUE(has(std::string_view(all).substr(0, 5 + 16384)));
}

}  // namespace
}  // namespace heddle::tls
