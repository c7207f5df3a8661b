// LastDigest: what is kept is of the same text.
#include "tls/state/last_digest.h"

#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <openssl/evp.h>

namespace heddle::tls {
namespace {

Sha256 digest_of(std::string_view text) {
  Sha256 digest{};
  EXPECT_EQ(EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr), 1);
  return digest;
}

TEST(LastDigest, IsThatOfTheText) {
  LastDigest last;
  for (const std::string_view text : {"", "one", "one", "two", "one", "one more", "", ""}) {
    Sha256 digest{};
    EXPECT_TRUE(last.compute(text, digest));
    EXPECT_EQ(digest, digest_of(text)) << text;
  }
}

TEST(LastDigest, KeepsTheTextItself) {
  LastDigest last;
  std::string text = "before";
  Sha256 digest{};
  EXPECT_TRUE(last.compute(text, digest));
  text = "behind";
  EXPECT_TRUE(last.compute(text, digest));
  EXPECT_EQ(digest, digest_of("behind"));
}

}  // namespace
}  // namespace heddle::tls
