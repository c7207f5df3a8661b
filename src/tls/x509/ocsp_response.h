// What an OCSP response is worth.
#pragma once

#include <string_view>

#include "heddle/tls/ocsp.h"

#include "openssl/handles.h"

namespace heddle::tls {

// Judges a response about `leaf`, which `issuer` has issued and is trusted to. Callers hold an
// ErrorQueueScope.
OcspStatus judge_ocsp(std::string_view der, X509* leaf, X509* issuer);

}  // namespace heddle::tls
