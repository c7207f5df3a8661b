// Owning handles for OpenSSL objects.
#pragma once

#include <memory>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace heddle::openssl {

// Frees with a function known at compile time, so a handle is one pointer wide
// and cannot be freed with another type's function.
template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};

// OPENSSL_free() and sk_..._pop_free() are macros.
inline void free_memory(void* memory) noexcept {
  OPENSSL_free(memory);
}
inline void free_stack(STACK_OF(X509) * stack) noexcept {
  sk_X509_pop_free(stack, X509_free);
}
inline void free_names(GENERAL_NAMES* names) noexcept {
  GENERAL_NAMES_free(names);
}

template <typename T, auto Free>
using Handle = std::unique_ptr<T, FreeWith<Free>>;

using SslPtr = Handle<SSL, SSL_free>;
using SslCtxPtr = Handle<SSL_CTX, SSL_CTX_free>;
using BioPtr = Handle<BIO, BIO_vfree>;
using BioMethodPtr = Handle<BIO_METHOD, BIO_meth_free>;
using SessionPtr = Handle<SSL_SESSION, SSL_SESSION_free>;
using X509Ptr = Handle<X509, X509_free>;
using X509NamePtr = Handle<X509_NAME, X509_NAME_free>;
using X509ExtensionPtr = Handle<X509_EXTENSION, X509_EXTENSION_free>;
using KeyPtr = Handle<EVP_PKEY, EVP_PKEY_free>;
using KeyContextPtr = Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free>;
using DigestContextPtr = Handle<EVP_MD_CTX, EVP_MD_CTX_free>;
using BignumPtr = Handle<BIGNUM, BN_free>;
using X509StackPtr = Handle<STACK_OF(X509), free_stack>;
using GeneralNamesPtr = Handle<GENERAL_NAMES, free_names>;
using MemoryPtr = Handle<char, free_memory>;

static_assert(sizeof(SslPtr) == sizeof(SSL*));

}  // namespace heddle::openssl
