// Operations of OpenSSL's that fail: see failures.h.
#include "guard/failures.h"

#include <array>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

namespace heddle::guard {
namespace {

// Looks the function up each time: this is rare, and for tests. An operation of which a part is
// missing is not done.
#define HEDDLE_FIND(name)                                                     \
  const auto name##_function =                                                \
      reinterpret_cast<decltype(&(name))>(find_below(library.object, #name)); \
  if (name##_function == nullptr) return

constexpr std::array<unsigned char, 8> kJunk = {'n', 'o', 't', ' ', 'D', 'E', 'R', '!'};

// A file that has no certificate in it.
void read_pem(const Library& library) {
  HEDDLE_FIND(BIO_new_mem_buf);
  HEDDLE_FIND(BIO_free);
  HEDDLE_FIND(PEM_read_bio_X509);
  HEDDLE_FIND(X509_free);
  BIO* const bio = BIO_new_mem_buf_function(kJunk.data(), static_cast<int>(kJunk.size()));
  if (bio == nullptr) return;
  X509_free_function(PEM_read_bio_X509_function(bio, nullptr, nullptr, nullptr));
  BIO_free_function(bio);
}

// A certificate of a peer's that does not parse.
void parse_certificate(const Library& library) {
  HEDDLE_FIND(d2i_X509);
  HEDDLE_FIND(X509_free);
  const unsigned char* bytes = kJunk.data();
  X509_free_function(d2i_X509_function(nullptr, &bytes, static_cast<long>(kJunk.size())));
}

// A file that is not there: the entry is the system's.
void open_missing_file(const Library& library) {
  HEDDLE_FIND(BIO_new_file);
  HEDDLE_FIND(BIO_free);
  BIO_free_function(BIO_new_file_function("/nonexistent/heddle-guard-provoke", "r"));
}

// A certificate whose signature does not verify: it has none.
void verify_certificate(const Library& library) {
  HEDDLE_FIND(EVP_PKEY_Q_keygen);
  HEDDLE_FIND(EVP_PKEY_free);
  HEDDLE_FIND(X509_new);
  HEDDLE_FIND(X509_free);
  HEDDLE_FIND(X509_verify);
  EVP_PKEY* const key = EVP_PKEY_Q_keygen_function(nullptr, nullptr, "EC", "P-256");
  X509* const certificate = X509_new_function();
  if (key != nullptr && certificate != nullptr) {
    (void)X509_verify_function(certificate, key);
  }
  X509_free_function(certificate);
  EVP_PKEY_free_function(key);
}

// A cipher that does not exist.
void choose_cipher(const Library& library) {
  HEDDLE_FIND(TLS_method);
  HEDDLE_FIND(SSL_CTX_new);
  HEDDLE_FIND(SSL_CTX_free);
  HEDDLE_FIND(SSL_CTX_set_cipher_list);
  SSL_CTX* const context = SSL_CTX_new_function(TLS_method_function());
  if (context != nullptr) (void)SSL_CTX_set_cipher_list_function(context, "NO-SUCH-CIPHER");
  SSL_CTX_free_function(context);
}

#undef HEDDLE_FIND

}  // namespace

void fail_at_something(const Library& library, std::uint64_t choice) {
  constexpr std::array kOperations = {read_pem, parse_certificate, open_missing_file,
                                      verify_certificate, choose_cipher};
  kOperations[choice % kOperations.size()](library);
}

}  // namespace heddle::guard
