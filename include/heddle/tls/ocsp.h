// OcspStatus: what the issuer of a certificate says about it now (RFC 6960), once that is verified.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "heddle/export.h"
#include "heddle/tls/callbacks.h"

namespace heddle {

enum class OcspVerdict : std::uint8_t {
  kMissing,   // There is no response.
  kGood,      // The certificate was not revoked when the response was made.
  kRevoked,   // The issuer has revoked it.
  kUnknown,   // The responder does not know the certificate.
  kUnusable,  // The response says nothing: OcspStatus::detail has the reason.
};

struct OcspStatus {
  OcspVerdict verdict = OcspVerdict::kMissing;
  // When kUnusable: why, a static string. It cannot be parsed, reports an error of the responder's,
  // has no valid signature of the issuer or of a responder that the issuer has named (RFC 6960,
  // section 4.2.2.2), is about another certificate, or is from another time.
  const char* detail = "";
  // When kGood, kRevoked or kUnknown: from when, and until when, the response may be relied on.
  std::chrono::system_clock::time_point this_update{};
  std::optional<std::chrono::system_clock::time_point> next_update{};
  // When kRevoked.
  std::optional<std::chrono::system_clock::time_point> revoked_at{};
  std::string reason{};  // "keyCompromise" (RFC 5280, section 5.3.1). Empty if none is given.
};

// Verifies an OCSP response, DER, about the peer's certificate, in Context::on_ocsp_response().
// Five minutes are allowed for clocks that differ. A response without a nextUpdate counts at any
// time. kUnusable where the connection has verified no chain (VerifyMode::kNone). Never parks.
HEDDLE_API OcspStatus ocsp_status(const ConnectionView& connection, std::string_view der);

}  // namespace heddle
