// One text and its digest.
#include "tls/state/last_digest.h"

#include <openssl/evp.h>

namespace heddle::tls {

bool LastDigest::compute(std::string_view text, Sha256& digest) {
  const std::lock_guard lock(mutex_);
  if (!is_known_ || text != text_) {
    is_known_ = false;
    text_ = text;
    is_known_ =
        EVP_Digest(text_.data(), text_.size(), digest_.data(), nullptr, EVP_sha256(), nullptr) == 1;
  }
  digest = digest_;
  return is_known_;
}

}  // namespace heddle::tls
