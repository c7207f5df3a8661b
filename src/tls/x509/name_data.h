// From OpenSSL's names to ours.
#pragma once

#include <string>
#include <vector>

#include "heddle/tls/certificate_details.h"

#include "openssl/handles.h"

namespace heddle::tls {

// Callers of all of these hold an ErrorQueueScope.

std::string bytes_of(const ASN1_STRING* string);

ObjectId object_id(const ASN1_OBJECT* object);

DistinguishedName distinguished_name(const X509_NAME* name);

// False if an attribute is no text of its type, or its type has no text form.
bool is_all_text(const DistinguishedName& name);

std::vector<AlternativeName> alternative_names(const GENERAL_NAMES* names);

}  // namespace heddle::tls
