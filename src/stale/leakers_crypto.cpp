// Files, keys and certificates that are not as they should be, and what OpenSSL leaves behind.
#include <array>
#include <string_view>
#include <vector>

#include <openssl/conf.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>

#include "heddle/error_queue.h"

#include "stale/leakers.h"
#include "stale/materials.h"

namespace heddle::stale {
namespace {

using Pkcs12Ptr = openssl::Handle<PKCS12, PKCS12_free>;
using DigestPtr = openssl::Handle<EVP_MD, EVP_MD_free>;
using ObjectPtr = openssl::Handle<ASN1_OBJECT, ASN1_OBJECT_free>;
using ConfigPtr = openssl::Handle<CONF, NCONF_free>;
using KeyContextPtr = openssl::Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;

constexpr std::string_view kJunk = "neither PEM nor DER";

openssl::BioPtr bio_of(std::string_view text) {
  openssl::BioPtr bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  require(bio != nullptr, "no memory BIO");
  return bio;
}

// A leaker that needs no preparation.
template <Origin (*Leave)()>
class Simple final : public Leaker {
 public:
  Origin leave() override { return Leave(); }
};

Origin pem_junk() {
  const openssl::BioPtr junk = bio_of(kJunk);
  Origin origin = next_line("PEM_read_bio_X509");
  require(PEM_read_bio_X509(junk.get(), nullptr, nullptr, nullptr) == nullptr, "junk was parsed");
  return origin;
}

Origin der_junk() {
  const auto* bytes = reinterpret_cast<const unsigned char*>(kJunk.data());
  Origin origin = next_line("d2i_X509");
  require(d2i_X509(nullptr, &bytes, static_cast<long>(kJunk.size())) == nullptr, "junk was parsed");
  return origin;
}

Origin wrong_password() {
  const openssl::BioPtr pem = bio_of(materials().encrypted_key_pem);
  std::string password = "wrong";
  Origin origin = next_line("PEM_read_bio_PrivateKey");
  require(PEM_read_bio_PrivateKey(pem.get(), nullptr, nullptr, password.data()) == nullptr,
          "a wrong password was accepted");
  return origin;
}

Origin pkcs12() {
  const std::vector<unsigned char>& file = materials().pkcs12;
  const unsigned char* bytes = file.data();
  const Pkcs12Ptr parsed(d2i_PKCS12(nullptr, &bytes, static_cast<long>(file.size())));
  require(parsed != nullptr, "cannot parse a PKCS12 file");
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
  Origin origin = next_line("PKCS12_parse");
  require(PKCS12_parse(parsed.get(), "wrong", &key, &certificate, nullptr) == 0,
          "a wrong password was accepted");
  return origin;
}

Origin txt2obj() {
  Origin origin = next_line("OBJ_txt2obj");
  const ObjectPtr object(OBJ_txt2obj("1.2.not-a-number", /*no_name=*/1));
  require(object == nullptr, "a malformed object identifier was accepted");
  return origin;
}

Origin missing_algorithm() {
  Origin origin = next_line("EVP_MD_fetch");
  const DigestPtr digest(EVP_MD_fetch(nullptr, "NO-SUCH-DIGEST", nullptr));
  require(digest == nullptr, "a digest that does not exist was found");
  return origin;
}

Origin missing_trust_file() {
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
  require(ctx != nullptr, "cannot make a context");
  Origin origin = next_line("SSL_CTX_load_verify_locations");
  require(SSL_CTX_load_verify_locations(ctx.get(), "/nonexistent/trust.pem", nullptr) == 0,
          "a file that does not exist was read");
  return origin;
}

void load_config(const char* text) {
  const ConfigPtr config(NCONF_new(nullptr));
  long line = 0;
  require(config && NCONF_load_bio(config.get(), bio_of(text).get(), &line) > 0 &&
              CONF_modules_load(config.get(), nullptr, 0) > 0,
          "cannot load a configuration");
}

// The configuration is the process's: the bad one lasts as long as the one call. With
// config_diagnostics, as Debian 13 sets it, the call would fail instead of succeeding.
Origin bad_ciphersuites() {
  {
    const ErrorQueueScope scope(Leftovers::kDrop);
    CONF_modules_finish();  // From 4.0 on what was loaded first stays.
    load_config(
        "openssl_conf=init\nconfig_diagnostics=0\n[init]\nssl_conf=ssl\n[ssl]\nsystem_default=tls\n"
        "[tls]\nCiphersuites=NO_SUCH_SUITE\n");
  }
  Origin origin = next_line("SSL_CTX_new");
  const openssl::SslCtxPtr ctx(SSL_CTX_new(TLS_client_method()));
  const ErrorQueueScope scope(Leftovers::kDrop);
  CONF_modules_finish();
  (void)CONF_modules_load_file(nullptr, nullptr,
                               CONF_MFLAGS_DEFAULT_SECTION | CONF_MFLAGS_IGNORE_MISSING_FILE);
  require(ctx != nullptr, "SSL_CTX_new failed, and should not");
  return origin;
}

// A decryption that succeeds: the entry it leaves is flagged ERR_FLAG_CLEAR, so that nobody can
// tell from the queue how the padding was. No false alarm must come of it.
Origin hidden_entry() {
  const openssl::BioPtr pem = bio_of(materials().rsa.key_pem);
  const openssl::KeyPtr key(PEM_read_bio_PrivateKey(pem.get(), nullptr, nullptr, nullptr));
  const KeyContextPtr context(EVP_PKEY_CTX_new(key.get(), nullptr));
  const std::vector<unsigned char>& from = materials().ciphertext;
  std::vector<unsigned char> into(from.size());
  std::size_t size = into.size();
  require(context && EVP_PKEY_decrypt_init(context.get()) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(context.get(), RSA_PKCS1_OAEP_PADDING) == 1,
          "cannot prepare a decryption");
  Origin origin = next_line("EVP_PKEY_decrypt");
  require(EVP_PKEY_decrypt(context.get(), into.data(), &size, from.data(), from.size()) == 1,
          "a decryption failed");
  return origin;
}

constexpr std::array kKinds = {
    LeakerKind{"pem-junk", "PEM_read_bio_X509 of junk", make_leaker<Simple<pem_junk>>},
    LeakerKind{"der-junk", "d2i_X509 of junk", make_leaker<Simple<der_junk>>},
    LeakerKind{"wrong-password", "PEM_read_bio_PrivateKey with a wrong password",
               make_leaker<Simple<wrong_password>>},
    LeakerKind{"pkcs12", "PKCS12_parse with a wrong password", make_leaker<Simple<pkcs12>>},
    LeakerKind{"txt2obj", "OBJ_txt2obj of a malformed identifier", make_leaker<Simple<txt2obj>>},
    LeakerKind{"missing-algorithm", "EVP_MD_fetch of an algorithm that does not exist",
               make_leaker<Simple<missing_algorithm>>},
    LeakerKind{"bad-ciphersuites",
               "SSL_CTX_new under a configuration with bad Ciphersuites: succeeds, and leaves an "
               "entry",
               make_leaker<Simple<bad_ciphersuites>>},
    LeakerKind{"missing-trust-file",
               "SSL_CTX_load_verify_locations of a file that is not there: an ERR_LIB_SYS entry",
               make_leaker<Simple<missing_trust_file>>},
    LeakerKind{"hidden-entry",
               "RSA decryption that succeeds, and leaves an entry flagged ERR_FLAG_CLEAR",
               make_leaker<Simple<hidden_entry>>},
};

}  // namespace

std::span<const LeakerKind> crypto_leakers() {
  return kKinds;
}

}  // namespace heddle::stale
