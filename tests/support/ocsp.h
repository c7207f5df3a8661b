// What a responder says of a certificate (RFC 6960).
#pragma once

#include <string>

#include "support/chain.h"

namespace heddle::test {

// An OCSPResponse in DER: `leaf` is good, says `issuer`.
std::string ocsp_response(const Issued& leaf, const Issued& issuer);

}  // namespace heddle::test
