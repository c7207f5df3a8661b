// From X509 to Certificate.
#pragma once

#include <cstddef>
#include <string>

#include "heddle/tls/certificate.h"

#include "openssl/handles.h"

namespace heddle::tls {

// Callers hold an ErrorQueueScope: a malformed extension leaves entries.
Certificate describe(X509* certificate);

// As Certificate::subject, cut to `bytes_max`. Callers hold an ErrorQueueScope as well.
std::string subject_of(const X509* certificate, std::size_t bytes_max);

// As Certificate::subject. Callers hold an ErrorQueueScope.
std::string printable_name(const X509_NAME* name);

// SHA-256 over the DER form: upper case, colons.
std::string fingerprint(const X509* certificate);

}  // namespace heddle::tls
