// Calls that are known to leave entries, though they succeed or their caller does not mind: where
// libcrypto hides who pushes, the one after which the queue is no longer empty is told. These
// functions are put before OpenSSL's, and only look.
#include <atomic>
#include <type_traits>

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "guard/errno_kept.h"
#include "guard/library.h"
#include "guard/origin.h"

namespace heddle::guard {
namespace {

// The function that the code of one object calls. Mostly there is one such object.
struct Known {
  std::atomic<std::uintptr_t> start{0};
  std::atomic<std::uintptr_t> end{0};
  std::atomic<void*> function{nullptr};
};

void* find_known(Known& known, const void* site, const char* name) {
  const auto address = reinterpret_cast<std::uintptr_t>(site);
  void* const last = known.function.load(std::memory_order_acquire);
  if (last != nullptr && address >= known.start.load() && address < known.end.load()) return last;
  const ErrnoKept errno_kept;
  void* const function = find_for_caller(site, name);
  // Of two threads that come here first, one is remembered.
  if (last == nullptr && function != nullptr) {
    const Object caller = object_at(address);
    std::uintptr_t free = 0;
    if (known.start.compare_exchange_strong(free, caller.start)) {
      known.end.store(caller.end);
      known.function.store(function, std::memory_order_release);
    }
  }
  return function;
}

template <typename Function>
struct Careless;

template <typename Value, typename... Arguments>
struct Careless<Value(Arguments...)> {
  static Value call(Known& known, const char* name, const void* site,
                    std::type_identity_t<Arguments>... arguments) {
    void* const function = find_known(known, site, name);
    if (function == nullptr) return Value();
    const auto real = reinterpret_cast<Value (*)(Arguments...)>(function);
    const CallWatch watch(site);
    return real(arguments...);
  }
};

}  // namespace
}  // namespace heddle::guard

using heddle::guard::Careless;
using heddle::guard::Known;

#define HEDDLE_CARELESS(name, ...)                                 \
  static constinit Known known;                                    \
  return Careless<std::remove_pointer_t<decltype(&(name))>>::call( \
      known, #name, __builtin_return_address(0) __VA_OPT__(, ) __VA_ARGS__)

extern "C" {
#pragma GCC visibility push(default)

// CPython makes contexts; a configuration file may be wrong.
SSL_CTX* SSL_CTX_new(const SSL_METHOD* method) {
  HEDDLE_CARELESS(SSL_CTX_new, method);
}

// CPython's getpeercert() reads extensions so; they need not parse.
void* X509_get_ext_d2i(const X509* certificate, int kind, int* critical, int* index) {
  HEDDLE_CARELESS(X509_get_ext_d2i, certificate, kind, critical, index);
}

int SSL_CTX_load_verify_locations(SSL_CTX* context, const char* file, const char* folder) {
  HEDDLE_CARELESS(SSL_CTX_load_verify_locations, context, file, folder);
}

int SSL_CTX_use_certificate_chain_file(SSL_CTX* context, const char* file) {
  HEDDLE_CARELESS(SSL_CTX_use_certificate_chain_file, context, file);
}

int SSL_CTX_use_PrivateKey_file(SSL_CTX* context, const char* file, int type) {
  HEDDLE_CARELESS(SSL_CTX_use_PrivateKey_file, context, file, type);
}

int SSL_CTX_set_cipher_list(SSL_CTX* context, const char* ciphers) {
  HEDDLE_CARELESS(SSL_CTX_set_cipher_list, context, ciphers);
}

X509* PEM_read_bio_X509(BIO* bio, X509** to, pem_password_cb* ask, void* argument) {
  HEDDLE_CARELESS(PEM_read_bio_X509, bio, to, ask, argument);
}

EVP_PKEY* PEM_read_bio_PrivateKey(BIO* bio, EVP_PKEY** to, pem_password_cb* ask, void* argument) {
  HEDDLE_CARELESS(PEM_read_bio_PrivateKey, bio, to, ask, argument);
}

X509* d2i_X509(X509** to, const unsigned char** bytes, long size) {
  HEDDLE_CARELESS(d2i_X509, to, bytes, size);
}

ASN1_OBJECT* OBJ_txt2obj(const char* text, int without_names) {
  HEDDLE_CARELESS(OBJ_txt2obj, text, without_names);
}

int EVP_DigestVerifyFinal(EVP_MD_CTX* context, const unsigned char* signature, std::size_t size) {
  HEDDLE_CARELESS(EVP_DigestVerifyFinal, context, signature, size);
}

#pragma GCC visibility pop
}
