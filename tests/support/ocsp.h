// What a responder says of a certificate (RFC 6960).
#pragma once

#include <string>

#include "support/chain.h"

namespace heddle::test {

// One answer about a certificate, and who signs it.
struct OcspAnswer {
  int status = 0;           // V_OCSP_CERTSTATUS_GOOD
  int reason = -1;          // OCSP_REVOKED_STATUS_...
  long from_seconds = -60;  // Seen from now.
  long until_seconds = 3600;
  bool has_end = true;
  bool is_sha256 = false;          // Names the certificate so, instead of by SHA-1.
  const Issued* signer = nullptr;  // The issuer if null; else it comes with the response.
};

// An OCSPResponse in DER: what `issuer` says of `leaf`.
std::string ocsp_response(const Issued& leaf, const Issued& issuer, const OcspAnswer& answer = {});

// One without an answer: the responder wants to be asked later.
std::string ocsp_try_later();

}  // namespace heddle::test
