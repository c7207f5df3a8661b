// The kind of a BIO of ours: a source and sink of bytes.
#pragma once

#include "openssl/handles.h"

namespace heddle::tls {

struct BioFunctions {
  int (*read)(BIO* bio, char* into, int size);
  int (*write)(BIO* bio, const char* from, int size);
  long (*ctrl)(BIO* bio, int command, long number, void* pointer);
};

// `name` must outlive it. Throws std::bad_alloc.
openssl::BioMethodPtr make_bio_method(const char* name, const BioFunctions& functions);

// A BIO that finds `data` with BIO_get_data(3). Throws std::bad_alloc.
openssl::BioPtr make_bio_over(void* data, const BIO_METHOD* method);

}  // namespace heddle::tls
