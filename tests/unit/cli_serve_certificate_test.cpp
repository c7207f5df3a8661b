// What `heddle serve` says about the certificate that it was given.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cli/serve_certificate.h"

namespace heddle::cli {
namespace {

constexpr const char* kNow = "2026-06-15 12:00:00Z";

Certificate certificate(std::vector<std::string> alternatives) {
  Certificate made;
  made.not_before = "2026-01-31 12:00:00Z";
  made.not_after = "2026-07-31 12:00:00Z";
  made.subject_alt_names = std::move(alternatives);
  return made;
}

std::size_t doubts(const Certificate& about, const std::vector<std::string>& names = {}) {
  return doubts_about(about, kNow, names).size();
}

TEST(ServeCertificate, ExpiredOrEarlyOnesAreDoubted) {
  Certificate made = certificate({"DNS:a.example"});
  EXPECT_EQ(doubts(made), 0U);
  made.not_after = "2026-06-15 11:59:59Z";
  ASSERT_EQ(doubts(made), 1U);
  EXPECT_NE(doubts_about(made, kNow, {})[0].find("expired"), std::string::npos);
  made = certificate({"DNS:a.example"});
  made.not_before = "2026-06-15 12:00:01Z";
  EXPECT_EQ(doubts(made), 1U);
  made.not_before.clear();  // Malformed: others say more.
  EXPECT_EQ(doubts(made), 0U);
}

TEST(ServeCertificate, OnesForOtherNamesAreDoubted) {
  const Certificate made = certificate({"DNS:a.example", "DNS:*.b.example", "IP:127.0.0.1"});
  EXPECT_EQ(doubts(made, {"A.example", "x.B.example", "127.0.0.1"}), 0U);
  for (const char* name :
       {"b.example", "x.y.b.example", "c.example", ".b.example", "127.0.0.2", "b"}) {
    EXPECT_EQ(doubts(made, {name}), 1U) << name;
  }
  EXPECT_EQ(doubts(certificate({})), 1U) << "names are never taken from the subject";
  EXPECT_EQ(doubts(certificate({}), {"a.example"}), 1U);
}

}  // namespace
}  // namespace heddle::cli
