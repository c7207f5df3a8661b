// Records are counted where they begin, however their bytes are cut.
#include "tls/wire/intake.h"

#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace heddle::tls {
namespace {

using Verdict = Intake::Verdict;

constexpr std::size_t kHeader = 5;

std::string record(std::size_t bytes) {
  std::string text("\x17\x03\x03", 3);
  text += static_cast<char>(bytes >> 8);
  text += static_cast<char>(bytes);
  return text + std::string(bytes, '\x17');
}

void take(Intake& intake, std::string_view bytes) {
  intake.took(std::as_bytes(std::span(bytes)));
}

Intake established() {
  Intake intake;
  intake.establish();
  EXPECT_EQ(intake.ask(kHeader), Verdict::kGoOn);
  return intake;
}

TEST(IntakeTest, CallMayBeginEightRecordsHoweverTheyAreCut) {
  for (const std::size_t piece : {1U, 3U, 5U, 7U, 1000U}) {
    Intake intake = established();
    intake.begin_call();
    std::string all;
    for (unsigned i = 0; i < Intake::kRecordsPerCall; ++i) all += record(300 + i);
    for (std::size_t at = 0; at < all.size(); at += piece) {
      EXPECT_EQ(intake.ask(piece), Verdict::kGoOn) << piece << " " << at;
      take(intake, std::string_view(all).substr(at, piece));
    }
    EXPECT_EQ(intake.ask(kHeader), Verdict::kPause);
    EXPECT_TRUE(intake.paused());
    intake.begin_call();
    EXPECT_FALSE(intake.paused());
    EXPECT_EQ(intake.ask(kHeader), Verdict::kGoOn);
  }
}

TEST(IntakeTest, RecordsInARowWithoutDataAreTooMany) {
  Intake intake = established();
  for (unsigned i = 0; i <= Intake::kIdleRecordsMax; ++i) {
    intake.begin_call();
    EXPECT_EQ(intake.ask(kHeader), Verdict::kGoOn);
    take(intake, record(0));
  }
  intake.begin_call();
  EXPECT_EQ(intake.ask(kHeader), Verdict::kTooMuch);
  intake.got_data();
  EXPECT_EQ(intake.ask(kHeader), Verdict::kGoOn);
}

TEST(IntakeTest, HandshakeIsBoundedInBytesAndNotInRecords) {
  Intake intake;
  intake.set_handshake_bytes_max(600);
  for (int i = 0; i < 100; ++i) {
    intake.begin_call();
    EXPECT_EQ(intake.ask(kHeader), Verdict::kGoOn);
    take(intake, record(1));
  }
  intake.begin_call();
  EXPECT_EQ(intake.ask(kHeader), Verdict::kTooMuch);
}

// As with a connection that was adopted with half a record in OpenSSL's hands.
TEST(IntakeTest, CountingBeginsWithTheFirstHeader) {
  Intake intake;
  intake.establish();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(intake.ask(700), Verdict::kGoOn);
    take(intake, "\x17\x03\x03\x00");
  }
  EXPECT_EQ(intake.ask(kHeader), Verdict::kGoOn);
  take(intake, record(100));
  EXPECT_EQ(intake.ask(kHeader), Verdict::kGoOn);
}

TEST(IntakeTest, FirstHeaderIsKnownUntilTheSecondRecordBegins) {
  Intake intake;
  EXPECT_TRUE(intake.first_header().empty());
  (void)intake.ask(kHeader);
  take(intake, "22");
  EXPECT_EQ(intake.first_header().size(), 2U);
  take(intake, "0 r");
  EXPECT_EQ(intake.first_header().size(), 5U);
  EXPECT_EQ(intake.first_header()[3], std::byte{' '});
  Intake of_two;
  (void)of_two.ask(kHeader);
  take(of_two, record(3));
  EXPECT_EQ(of_two.first_header().size(), 5U);
  take(of_two, record(3));
  EXPECT_TRUE(of_two.first_header().empty());
}

TEST(IntakeTest, OldClientHelloIsOneRecord) {
  Intake intake;
  const std::string body = std::string("\x01\x03\x03\x00\x33", 5) + std::string(60, '\xff');
  const std::string hello = std::string("\x80", 1) + static_cast<char>(body.size()) + body;
  intake.begin_call();
  EXPECT_EQ(intake.ask(kHeader), Verdict::kGoOn);
  take(intake, hello);
  for (unsigned i = 1; i < Intake::kRecordsPerCall; ++i) {
    EXPECT_EQ(intake.ask(kHeader), Verdict::kGoOn);
    take(intake, record(10));
  }
  EXPECT_EQ(intake.ask(kHeader), Verdict::kPause);
}

}  // namespace
}  // namespace heddle::tls
