// check_chain(): all that is wrong with a certificate chain, without a connection.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/export.h"
#include "heddle/result.h"
#include "heddle/tls/make_certificate.h"

namespace heddle {

struct ChainCheckOptions {
  std::string host{};  // A DNS name or an IP address that the first certificate must be for; or "".
  // Certificates to trust, PEM; nothing: those of the system (Trust::kSystem).
  std::optional<std::string> roots_pem{};
  CertificatePurpose purpose = CertificatePurpose::kServer;  // Not kAuthority: refused.
};

// One reason why a peer that verifies as Context does would refuse the chain.
struct ChainFault {
  int verify_code = 0;  // X509_V_ERR_*.
  int depth = 0;        // As Error::verify_depth; -1 if it is none in particular.
  std::string text;     // OpenSSL's, such as "certificate has expired".
};

struct ChainReport {
  std::vector<ChainFault> faults;  // Empty: it verifies.
  // For each certificate of the chain, the index of its issuer in the chain: the one that has
  // signed it, or, if the signature is wrong, the one that names and key identifiers give as its
  // issuer. Its own index if it is self-signed, -1 if there is none.
  std::vector<int> issuers;
};

// Verifies the certificates in `chain_pem`, leaf first, as a peer would: at the present time,
// strictly, with security level 2, and using the other certificates of the chain to find a path to
// a root. Does not stop at the first fault. Reads the system's roots from disk. Fails with kInvalid
// for text that is not a chain, more than 100 certificates, a host that is not valid, and roots
// that cannot be read.
HEDDLE_API Result<ChainReport> check_chain(std::string_view chain_pem,
                                           const ChainCheckOptions& options);

}  // namespace heddle
