// Making a response as a responder would.
#include "support/ocsp.h"

#include <openssl/ocsp.h>

#include "base/assert.h"
#include "openssl/handles.h"

namespace heddle::test {

std::string ocsp_response(const Issued& leaf, const Issued& issuer) {
  using openssl::Handle;
  using TimePtr = Handle<ASN1_TIME, ASN1_TIME_free>;
  const Handle<OCSP_CERTID, OCSP_CERTID_free> id(
      OCSP_cert_to_id(EVP_sha1(), leaf.certificate.get(), issuer.certificate.get()));
  const TimePtr now(X509_gmtime_adj(nullptr, -60));
  const TimePtr next(X509_gmtime_adj(nullptr, 3600));
  const Handle<OCSP_BASICRESP, OCSP_BASICRESP_free> basic(OCSP_BASICRESP_new());
  OCSP_basic_add1_status(basic.get(), id.get(), V_OCSP_CERTSTATUS_GOOD, 0, nullptr, now.get(),
                         next.get());
  OCSP_basic_sign(basic.get(), issuer.certificate.get(), issuer.key.get(), EVP_sha256(), nullptr,
                  OCSP_NOCERTS);
  const Handle<OCSP_RESPONSE, OCSP_RESPONSE_free> response(
      OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic.get()));
  unsigned char* der = nullptr;
  const int size = i2d_OCSP_RESPONSE(response.get(), &der);
  HEDDLE_ASSERT(size > 0);
  const openssl::MemoryPtr owned(reinterpret_cast<char*>(der));
  return {owned.get(), static_cast<std::size_t>(size)};
}

}  // namespace heddle::test
