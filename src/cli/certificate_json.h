// Certificates as JSON.
#pragma once

#include <string>
#include <vector>

#include "heddle/tls/certificate.h"
#include "heddle/tls/certificate_details.h"

namespace heddle::cli {

// An array with an object for each certificate, pure ASCII. Members that CPython's
// SSLSocket.getpeercert() knows have its names and its form, lists instead of tuples: subject,
// issuer, version, serialNumber, notBefore, notAfter, subjectAltName, OCSP, caIssuers,
// crlDistributionPoints. The others are ours. A time that is malformed is null; bytes that are no
// UTF-8 become U+FFFD, and the certificate itself is in "pem".
std::string certificates_as_json(const std::vector<Certificate>& certificates);

// The name of a bit of keyUsage, as RFC 5280 has it: "digitalSignature".
const char* key_use_name(KeyUse use);

}  // namespace heddle::cli
