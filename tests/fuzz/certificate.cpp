// Certificates, in DER and in PEM: read and described.
#include "heddle/tls/certificate.h"

#include <openssl/err.h>

#include "fuzz/fuzz.h"
#include "tls/x509/certificate_data.h"
#include "tls/x509/pem.h"

using heddle::fuzz::require;

namespace {

void check(const heddle::Certificate& certificate) {
  require(certificate.sha256.size() == 95, "a fingerprint has 32 bytes");
  for (const std::string& text : {certificate.subject, certificate.issuer, certificate.serial,
                                  certificate.not_before, certificate.not_after}) {
    require(text.find('\0') == std::string::npos, "texts have no zero bytes");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto parsed = heddle::tls::parse_der(std::as_bytes(std::span(data, size)), "fuzz");
  if (parsed) check(heddle::tls::describe(parsed->get()));
  ERR_clear_error();  // That was inside the library, where others see to it.
  const auto from_pem = heddle::parse_certificate(heddle::fuzz::text_of(data, size));
  if (from_pem) check(*from_pem);
  require(ERR_peek_error() == 0, "nothing is left in the error queue");
  return 0;
}
