// make_certificate(): certificates of an authority of one's own, for development and tests.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/certificate.h"

namespace heddle {

enum class CertificatePurpose : std::uint8_t { kAuthority, kServer, kClient };

// A deliberate flaw in a certificate, for tests of code that verifies it.
enum class CertificateFlaw : std::uint8_t {
  kNone,
  kWrongUsage,        // A server's is for clients only and the other way round; an authority's key
                      // may not sign certificates.
  kNoAuthorityKeyId,  // Breaks RFC 5280, 4.2.1.1: strict verification refuses it.
  kNoAlternativeNames,  // The name is in the subject only, where nobody looks any more.
  kBadSignature,        // The last bit of the signature is wrong.
};

struct CertificateOptions {
  std::string common_name{};  // UTF-8, cut to 64 characters; "": the first of `names`.
  // DNS names and IP addresses; also mail addresses ("a@b") and URIs ("spiffe://a/b").
  std::vector<std::string> names{};
  CertificatePurpose purpose = CertificatePurpose::kServer;
  KeyType key_type = KeyType::kEcdsaP256;
  std::chrono::seconds begins{-3600};  // Relative to now.
  std::chrono::seconds ends{std::chrono::hours(24) * 365};
  CertificateFlaw flaw = CertificateFlaw::kNone;
};

// Makes a new key and a certificate for it, signed by `issuer`, or by itself if that is null.
// Unless a flaw is asked for, it satisfies X509_V_FLAG_X509_STRICT. Takes as long as
// make_self_signed(). Precondition: there is a common name or one of `names`. Fails with kInvalid
// (a name that no certificate can hold, an issuer that cannot be read) or kExhausted.
HEDDLE_API Result<Identity> make_certificate(const CertificateOptions& options,
                                             const Identity* issuer = nullptr);

}  // namespace heddle
