// Signature schemes as a table.
#include "tls/keys/signature.h"

#include <algorithm>
#include <array>
#include <utility>

#include <strings.h>

namespace heddle::tls {
namespace {

using Row = std::pair<SignatureScheme, SchemeParts>;
using S = SignatureScheme;

constexpr std::array<Row, 15> kSchemes = {{
    {S::kRsaPkcs1Sha1, {Algorithm::kRsa, "SHA1"}},
    {S::kRsaPkcs1Sha224, {Algorithm::kRsa, "SHA224"}},
    {S::kRsaPkcs1Sha256, {Algorithm::kRsa, "SHA256"}},
    {S::kRsaPkcs1Sha384, {Algorithm::kRsa, "SHA384"}},
    {S::kRsaPkcs1Sha512, {Algorithm::kRsa, "SHA512"}},
    {S::kRsaPssRsaeSha256, {Algorithm::kRsa, "SHA256", /*pss=*/true}},
    {S::kRsaPssRsaeSha384, {Algorithm::kRsa, "SHA384", /*pss=*/true}},
    {S::kRsaPssRsaeSha512, {Algorithm::kRsa, "SHA512", /*pss=*/true}},
    {S::kEcdsaSha1, {Algorithm::kEcdsa, "SHA1"}},
    {S::kEcdsaSha224, {Algorithm::kEcdsa, "SHA224"}},
    {S::kEcdsaSecp256r1Sha256, {Algorithm::kEcdsa, "SHA256"}},
    {S::kEcdsaSecp384r1Sha384, {Algorithm::kEcdsa, "SHA384"}},
    {S::kEcdsaSecp521r1Sha512, {Algorithm::kEcdsa, "SHA512"}},
    {S::kEd25519, {Algorithm::kEd25519, nullptr}},
    {S::kEd448, {Algorithm::kEd448, nullptr}},
}};

// EVP_MD_get0_name() says "SHA256" of EVP_sha256() and "SHA2-256" of a fetched digest; a
// digest is also known as "SHA-256".
bool is_same_digest(std::string_view given, std::string_view ours) {
  for (const std::string_view prefix : {"SHA2-", "SHA-", "SHA"}) {
    if (given.size() < prefix.size() ||
        ::strncasecmp(given.data(), prefix.data(), prefix.size()) != 0) {
      continue;
    }
    return given.substr(prefix.size()) == ours.substr(3);
  }
  return false;
}

}  // namespace

const SchemeParts* parts_of(SignatureScheme scheme) noexcept {
  for (const Row& row : kSchemes) {
    if (row.first == scheme) return &row.second;
  }
  return nullptr;
}

std::optional<SignatureScheme> find_scheme(Algorithm algorithm, const char* digest,
                                           bool pss) noexcept {
  const std::string_view given(digest != nullptr ? digest : "");
  for (const auto& [scheme, parts] : kSchemes) {
    if (parts.algorithm != algorithm || parts.pss != pss) continue;
    const bool same = parts.digest != nullptr ? is_same_digest(given, parts.digest) : given.empty();
    if (same) return scheme;
  }
  return std::nullopt;
}

std::optional<Algorithm> algorithm_of(const EVP_PKEY* key) noexcept {
  constexpr std::array<std::pair<const char*, Algorithm>, 4> kTypes = {{
      {"RSA", Algorithm::kRsa},
      {"EC", Algorithm::kEcdsa},
      {"ED25519", Algorithm::kEd25519},
      {"ED448", Algorithm::kEd448},
  }};
  for (const auto& [type, algorithm] : kTypes) {
    if (EVP_PKEY_is_a(key, type) == 1) return algorithm;
  }
  return std::nullopt;
}

}  // namespace heddle::tls
