// Verifying OCSP responses (RFC 6960, section 3.2).
#include "tls/x509/ocsp_response.h"

#include <openssl/ocsp.h>
#include <openssl/x509_vfy.h>

#include "tls/x509/certificate_data.h"

namespace heddle::tls {
namespace {

using openssl::Handle;
using BasicPtr = Handle<OCSP_BASICRESP, OCSP_BASICRESP_free>;
using CertificateIdPtr = Handle<OCSP_CERTID, OCSP_CERTID_free>;
using ResponsePtr = Handle<OCSP_RESPONSE, OCSP_RESPONSE_free>;
using StorePtr = Handle<X509_STORE, X509_STORE_free>;

// Clocks that differ.
constexpr long kSkewSeconds = 300;

OcspStatus unusable(const char* detail) {
  return {.verdict = OcspVerdict::kUnusable, .detail = detail};
}

// Signed by `issuer`, or by a responder whose certificate it has issued for that. No other anchor
// counts: a responder must be its issuer's own.
bool is_signed(OCSP_BASICRESP* basic, X509* issuer) {
  const StorePtr anchors(X509_STORE_new());
  const openssl::X509StackPtr candidates(sk_X509_new_null());
  if (!anchors || !candidates || X509_STORE_add_cert(anchors.get(), issuer) != 1 ||
      X509_STORE_set_flags(anchors.get(), X509_V_FLAG_PARTIAL_CHAIN) != 1 ||
      X509_up_ref(issuer) != 1) {
    return false;
  }
  if (sk_X509_push(candidates.get(), issuer) == 0) {
    X509_free(issuer);
    return false;
  }
  return OCSP_basic_verify(basic, candidates.get(), anchors.get(), 0) == 1;
}

// The answer about `leaf`. A responder chooses the digest with which it names certificates.
OCSP_SINGLERESP* find_answer(OCSP_BASICRESP* basic, const X509* leaf, const X509* issuer) {
  for (int i = 0; i < OCSP_resp_count(basic); ++i) {
    OCSP_SINGLERESP* const answer = OCSP_resp_get0(basic, i);
    // NOLINTNEXTLINE(*-const-cast): only what is read by OCSP_id_get0_info(), which is not const.
    auto* const id = const_cast<OCSP_CERTID*>(OCSP_SINGLERESP_get0_id(answer));
    ASN1_OBJECT* algorithm = nullptr;
    if (OCSP_id_get0_info(nullptr, &algorithm, nullptr, nullptr, id) != 1) continue;
    const EVP_MD* const digest = EVP_get_digestbyobj(algorithm);
    if (digest == nullptr) continue;
    const CertificateIdPtr wanted(OCSP_cert_to_id(digest, leaf, issuer));
    if (wanted && OCSP_id_cmp(wanted.get(), id) == 0) return answer;
  }
  return nullptr;
}

OcspStatus read_answer(OCSP_SINGLERESP* answer) {
  int reason = -1;
  ASN1_GENERALIZEDTIME* revoked = nullptr;
  ASN1_GENERALIZEDTIME* from = nullptr;
  ASN1_GENERALIZEDTIME* until = nullptr;
  const int state = OCSP_single_get0_status(answer, &reason, &revoked, &from, &until);
  if (OCSP_check_validity(from, until, kSkewSeconds, -1) != 1) {
    return unusable("it is from another time");
  }
  OcspStatus status;
  status.this_update = time_point(from).value_or(std::chrono::sys_seconds());
  status.next_update = time_point(until);
  switch (state) {
    case V_OCSP_CERTSTATUS_GOOD:
      status.verdict = OcspVerdict::kGood;
      return status;
    case V_OCSP_CERTSTATUS_REVOKED:
      status.verdict = OcspVerdict::kRevoked;
      status.revoked_at = time_point(revoked);
      if (reason >= 0) status.reason = OCSP_crl_reason_str(reason);
      return status;
    default:
      status.verdict = OcspVerdict::kUnknown;
      return status;
  }
}

}  // namespace

OcspStatus judge_ocsp(std::string_view der, X509* leaf, X509* issuer) {
  if (der.empty()) return {};
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const unsigned char* const end = at + der.size();
  const ResponsePtr response(d2i_OCSP_RESPONSE(nullptr, &at, static_cast<long>(der.size())));
  if (!response || at != end) return unusable("it cannot be parsed");
  if (OCSP_response_status(response.get()) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
    return unusable("the responder reports an error");
  }
  const BasicPtr basic(OCSP_response_get1_basic(response.get()));
  if (!basic) return unusable("it cannot be parsed");
  if (!is_signed(basic.get(), issuer)) return unusable("its signature does not verify");
  OCSP_SINGLERESP* const answer = find_answer(basic.get(), leaf, issuer);
  if (answer == nullptr) return unusable("it is about another certificate");
  return read_answer(answer);
}

}  // namespace heddle::tls
