// Parsing credentials.
#include "tls/keys/credentials.h"

#include <utility>
#include <vector>

#include <openssl/x509.h>

#include "heddle/error_queue.h"

#include "base/die.h"
#include "openssl/error.h"
#include "tls/keys/signer_key.h"
#include "tls/x509/pem.h"

namespace heddle {

using openssl::error_from_queue;

namespace {

// Takes the chain apart.
Result<std::shared_ptr<tls::CredentialsData>> put_together(std::vector<openssl::X509Ptr> chain,
                                                           openssl::KeyPtr key) {
  auto data = std::make_shared<tls::CredentialsData>();
  data->leaf = std::move(chain.front());
  data->key = std::move(key);
  if (X509_check_private_key(data->leaf.get(), data->key.get()) != 1) {
    return error_from_queue(Errc::kInvalid, "match the private key with the certificate");
  }
  data->rest.reset(sk_X509_new_null());
  if (!data->rest) return error_from_queue(Errc::kExhausted, tls::kUseChain);
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (sk_X509_push(data->rest.get(), chain[i].get()) == 0) {
      return error_from_queue(Errc::kExhausted, tls::kUseChain);
    }
    (void)chain[i].release();  // The stack owns it now.
  }
  return data;
}

}  // namespace

Result<Credentials> Credentials::parse(std::string_view chain_pem, std::string_view key_pem,
                                       std::string_view password) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto chain = tls::parse_chain(chain_pem, "parse the certificate chain");
  if (!chain) return chain.error();
  auto key = tls::parse_key(key_pem, password, "parse the private key");
  if (!key) return key.error();
  auto data = put_together(*std::move(chain), *std::move(key));
  if (!data) return data.error();
  return Credentials(*std::move(data));
}

Result<Credentials> Credentials::with_signer(std::string_view chain_pem,
                                             std::shared_ptr<Signer> signer) {
  if (signer == nullptr)
    die("Credentials::with_signer() with a null signer: there is nobody to sign");
  const ErrorQueueScope scope(Leftovers::kDrop);
  auto chain = tls::parse_chain(chain_pem, "parse the certificate chain");
  if (!chain) return chain.error();
  auto key = tls::make_signer_key(X509_get0_pubkey(chain->front().get()), std::move(signer));
  if (!key) return key.error();
  auto data = put_together(*std::move(chain), *std::move(key));
  if (!data) return data.error();
  return Credentials(*std::move(data));
}

}  // namespace heddle
