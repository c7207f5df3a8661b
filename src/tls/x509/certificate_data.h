// From X509 to Certificate.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "heddle/tls/certificate.h"

#include "openssl/handles.h"

namespace heddle::tls {

// Callers hold an ErrorQueueScope: a malformed extension leaves entries.
Certificate describe(X509* certificate);

// As Certificate::subject, cut to `bytes_max`. Callers hold an ErrorQueueScope as well.
std::string subject_of(const X509* certificate, std::size_t bytes_max);

// As Certificate::subject. Callers hold an ErrorQueueScope.
std::string printable_name(const X509_NAME* name);

// As Certificate::serial.
std::string serial_text(const X509* certificate);

// Nothing for one that is malformed or not there.
std::optional<std::chrono::sys_seconds> time_point(const ASN1_TIME* time);

// SHA-256: upper case, colons.
std::string fingerprint(std::string_view der);

std::string der_of(X509* certificate);

// What was written to a memory BIO.
std::string text_of(BIO* bio);

}  // namespace heddle::tls
