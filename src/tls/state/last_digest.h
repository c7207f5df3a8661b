// The digest of a text that is mostly the same.
#pragma once

#include <array>
#include <mutex>
#include <string>
#include <string_view>

namespace heddle::tls {

using Sha256 = std::array<unsigned char, 32>;

// LastDigest computes the SHA-256 of a text and keeps it, with the text: the same text costs a
// comparison. EVP_Digest() takes some 8,000 instructions, and connections of one context describe
// themselves in the same words.
//
// Threads: any, at the same time.
class LastDigest {
 public:
  // Returns false when out of memory. May throw std::bad_alloc.
  bool compute(std::string_view text, Sha256& digest);

 private:
  std::mutex mutex_;
  bool is_known_ = false;
  std::string text_;
  Sha256 digest_{};
};

}  // namespace heddle::tls
