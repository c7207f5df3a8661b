// Making a response as a responder would.
#include "support/ocsp.h"

#include <openssl/ocsp.h>

#include "base/assert.h"
#include "openssl/handles.h"

namespace heddle::test {
namespace {

using openssl::Handle;
using TimePtr = Handle<ASN1_TIME, ASN1_TIME_free>;
using ResponsePtr = Handle<OCSP_RESPONSE, OCSP_RESPONSE_free>;

std::string der_of(const ResponsePtr& response) {
  unsigned char* der = nullptr;
  const int size = i2d_OCSP_RESPONSE(response.get(), &der);
  HEDDLE_ASSERT(size > 0);
  const openssl::MemoryPtr owned(reinterpret_cast<char*>(der));
  return {owned.get(), static_cast<std::size_t>(size)};
}

}  // namespace

std::string ocsp_response(const Issued& leaf, const Issued& issuer, const OcspAnswer& answer) {
  const Handle<OCSP_CERTID, OCSP_CERTID_free> id(
      OCSP_cert_to_id(answer.is_sha256 ? EVP_sha256() : EVP_sha1(), leaf.certificate.get(),
                      issuer.certificate.get()));
  const TimePtr from(X509_gmtime_adj(nullptr, answer.from_seconds));
  const TimePtr until(X509_gmtime_adj(nullptr, answer.until_seconds));
  const bool is_revoked = answer.status == V_OCSP_CERTSTATUS_REVOKED;
  const Handle<OCSP_BASICRESP, OCSP_BASICRESP_free> basic(OCSP_BASICRESP_new());
  OCSP_basic_add1_status(basic.get(), id.get(), answer.status, answer.reason,
                         is_revoked ? from.get() : nullptr, from.get(),
                         answer.has_end ? until.get() : nullptr);
  const Issued& signer = answer.signer != nullptr ? *answer.signer : issuer;
  OCSP_basic_sign(basic.get(), signer.certificate.get(), signer.key.get(), EVP_sha256(), nullptr,
                  answer.signer != nullptr ? 0 : OCSP_NOCERTS);
  return der_of(ResponsePtr(OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic.get())));
}

std::string ocsp_try_later() {
  return der_of(ResponsePtr(OCSP_response_create(OCSP_RESPONSE_STATUS_TRYLATER, nullptr)));
}

}  // namespace heddle::test
