// From X509 to Certificate.
#pragma once

#include <string>

#include "heddle/tls/certificate.h"

#include "openssl/handles.h"

namespace heddle::tls {

// Callers hold an ErrorQueueScope: a malformed extension leaves entries.
Certificate describe(X509* certificate);

// SHA-256 over the DER form: upper case, colons.
std::string fingerprint(const X509* certificate);

}  // namespace heddle::tls
