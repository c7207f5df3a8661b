// What BIO_meth_new(3) takes besides the functions that differ.
#include "tls/wire/bio_method.h"

#include <new>

namespace heddle::tls {
namespace {

int create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

}  // namespace

openssl::BioMethodPtr make_bio_method(const char* name, const BioFunctions& functions) {
  openssl::BioMethodPtr made(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, name));
  if (!made) throw std::bad_alloc();
  BIO_meth_set_read(made.get(), functions.read);
  BIO_meth_set_write(made.get(), functions.write);
  BIO_meth_set_ctrl(made.get(), functions.ctrl);
  BIO_meth_set_create(made.get(), create);
  return made;
}

openssl::BioPtr make_bio_over(void* data, const BIO_METHOD* method) {
  openssl::BioPtr bio(BIO_new(method));
  if (!bio) throw std::bad_alloc();
  BIO_set_data(bio.get(), data);
  return bio;
}

}  // namespace heddle::tls
