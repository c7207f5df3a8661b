// What a responder says of a certificate (RFC 6960).
#pragma once

#include <string>

#include "heddle/tls/certificate.h"

namespace heddle::test {

// An OCSPResponse in DER: `identity` is good, signed by itself.
std::string ocsp_response(const Identity& identity);

}  // namespace heddle::test
