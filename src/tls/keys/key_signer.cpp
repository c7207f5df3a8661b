// Ready-made signers: a key in memory, and a signer on a pool of threads.
#include <algorithm>
#include <utility>

#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "heddle/error_queue.h"
#include "heddle/tls/private_key.h"

#include "fiber/scheduler.h"
#include "fiber/user_code.h"
#include "openssl/error.h"
#include "openssl/handles.h"
#include "tls/keys/signature.h"
#include "tls/x509/pem.h"

namespace heddle {
namespace {

constexpr const char* kSign = "sign with a private key";

class KeySigner final : public Signer {
 public:
  KeySigner(openssl::KeyPtr key, tls::Algorithm algorithm)
      : key_(std::move(key)), algorithm_(algorithm) {}

  Result<std::vector<std::byte>> sign(SignatureScheme scheme, std::span<const std::byte> message,
                                      Deadline /*deadline*/) override {
    const ErrorQueueScope scope(Leftovers::kDrop);
    const tls::SchemeParts* const parts = tls::parts_of(scheme);
    if (parts == nullptr || parts->algorithm != algorithm_) {
      return Error{.code = Errc::kInvalid,
                   .operation = kSign,
                   .detail = "not a scheme for this type of key"};
    }
    // EVP_PKEY may be used by many threads at once, an EVP_MD_CTX by one.
    const openssl::DigestContextPtr context(EVP_MD_CTX_new());
    EVP_PKEY_CTX* parameters = nullptr;  // Of `context`.
    if (!context || EVP_DigestSignInit_ex(context.get(), &parameters, parts->digest, nullptr,
                                          nullptr, key_.get(), nullptr) != 1) {
      return openssl::error_from_queue(Errc::kInvalid, kSign);
    }
    if (parts->pss && (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) != 1 ||
                       EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) != 1)) {
      return openssl::error_from_queue(Errc::kInvalid, kSign);
    }
    std::vector<std::byte> signature(
        static_cast<std::size_t>(std::max(EVP_PKEY_get_size(key_.get()), 0)));
    std::size_t size = signature.size();
    if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                       reinterpret_cast<const unsigned char*>(message.data()),
                       message.size()) != 1) {
      return openssl::error_from_queue(Errc::kInvalid, kSign);
    }
    signature.resize(size);
    return signature;
  }

 private:
  const openssl::KeyPtr key_;
  const tls::Algorithm algorithm_;
};

class OffloadSigner final : public Signer {
 public:
  OffloadSigner(std::shared_ptr<OffloadPool> pool, std::shared_ptr<Signer> signer)
      : pool_(std::move(pool)), signer_(std::move(signer)) {}

  Result<std::vector<std::byte>> sign(SignatureScheme scheme, std::span<const std::byte> message,
                                      Deadline deadline) override {
    const fiber::Scheduler* const scheduler = fiber::Scheduler::current_or_null();
    if (scheduler == nullptr || scheduler->running() == nullptr) {
      return fiber::call_user(&Signer::sign, *signer_, scheme, message, deadline);
    }
    // All that it uses goes with it: the handshake may give up while it runs.
    return pool_->run_abandonable(
        [signer = signer_, scheme, deadline,
         copy = std::vector<std::byte>(message.begin(), message.end())] {
          return fiber::call_user(&Signer::sign, *signer, scheme, copy, deadline);
        },
        deadline);
  }

 private:
  const std::shared_ptr<OffloadPool> pool_;
  const std::shared_ptr<Signer> signer_;
};

}  // namespace

Result<std::shared_ptr<Signer>> make_key_signer(std::string_view key_pem,
                                                std::string_view password) {
  const ErrorQueueScope scope(Leftovers::kDrop);
  const auto ask = [&]() -> Result<std::string> { return std::string(password); };
  auto key = tls::parse_key(key_pem, ask, "parse a private key");
  if (!key) return key.error();
  const auto algorithm = tls::algorithm_of(key->get());
  if (!algorithm) {
    return Error{.code = Errc::kInvalid,
                 .operation = "use a private key",
                 .detail = "not of a type that signs in TLS"};
  }
  return std::shared_ptr<Signer>(std::make_shared<KeySigner>(*std::move(key), *algorithm));
}

std::shared_ptr<Signer> make_offload_signer(std::shared_ptr<OffloadPool> pool,
                                            std::shared_ptr<Signer> signer) {
  return std::make_shared<OffloadSigner>(std::move(pool), std::move(signer));
}

}  // namespace heddle
