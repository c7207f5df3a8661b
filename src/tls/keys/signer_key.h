// An EVP_PKEY whose private half is a Signer.
#pragma once

#include <memory>

#include <openssl/evp.h>

#include "heddle/result.h"
#include "heddle/tls/private_key.h"

#include "openssl/handles.h"

namespace heddle::tls {

// Makes a key that libssl takes for the private key of `public_key`'s certificate, and for whose
// signatures it calls `signer`. It can sign (EVP_DigestSign(3), whole messages, the schemes of TLS)
// and be compared, and nothing else: neither decrypt, nor be exported. Fails with kInvalid for
// a type of key that cannot sign in TLS.
//
// The caller holds an ErrorQueueScope.
Result<openssl::KeyPtr> make_signer_key(EVP_PKEY* public_key, std::shared_ptr<Signer> signer);

}  // namespace heddle::tls
