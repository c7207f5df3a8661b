// Signature schemes as OpenSSL spells them: a digest's name and a padding.
#pragma once

#include <optional>
#include <string_view>

#include <openssl/evp.h>

#include "heddle/tls/private_key.h"

namespace heddle::tls {

enum class Algorithm : std::uint8_t { kRsa, kEcdsa, kEd25519, kEd448 };

// What a scheme consists of.
struct SchemeParts {
  Algorithm algorithm;
  const char* digest;  // Null if the algorithm has its own.
  bool pss = false;
};

// Null for a number that is not one of the enumeration's.
const SchemeParts* parts_of(SignatureScheme scheme) noexcept;

// The scheme of `algorithm` with the digest of that name, in any of OpenSSL's spellings; null or
// empty for an algorithm that has its own. Nothing if TLS has no such scheme.
std::optional<SignatureScheme> find_scheme(Algorithm algorithm, const char* digest,
                                           bool pss) noexcept;

// The algorithm that signs with `key`; nothing for any other key.
std::optional<Algorithm> algorithm_of(const EVP_PKEY* key) noexcept;

}  // namespace heddle::tls
