// A plugin that uses libcrypto and relies on its program to have it: it is not linked with it.
#include <openssl/objects.h>

extern "C" [[gnu::visibility("default")]] int run_plugin() {
  ASN1_OBJECT* const object = OBJ_txt2obj("1.2.840.10045", 1);
  const int answer = object == nullptr ? 2 : 0;
  ASN1_OBJECT_free(object);
  return answer;
}
