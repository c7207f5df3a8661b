// Making and signing certificates.
#include "support/chain.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/assert.h"
#include "support/tls_pair.h"

namespace heddle::test {
namespace {

void add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const openssl::X509ExtensionPtr extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  HEDDLE_ASSERT(extension != nullptr);
  X509_add_ext(certificate, extension.get(), -1);
}

void add_extensions(X509* certificate, X509* issuer, const Wanted& wanted) {
  add_extension(certificate, issuer, NID_subject_key_identifier, "hash");
  if (wanted.is_strict) {
    add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always");
  }
  if (wanted.extended_key_usage != nullptr) {
    add_extension(certificate, issuer, NID_ext_key_usage, wanted.extended_key_usage);
  }
  if (!wanted.is_ca) {
    add_extension(certificate, issuer, NID_subject_alt_name, std::string("DNS:") + kServerName);
    return;
  }
  add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:TRUE");
  if (wanted.is_strict) add_extension(certificate, issuer, NID_key_usage, "critical,keyCertSign");
}

}  // namespace

Issued issue(const Wanted& wanted, const Issued* issuer) {
  static long serial = 0;
  Issued made{openssl::X509Ptr(X509_new()), openssl::KeyPtr(EVP_EC_gen("P-256"))};
  X509* const certificate = made.certificate.get();
  X509_set_version(certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  constexpr long kHour = 3600;
  X509_gmtime_adj(X509_getm_notBefore(certificate), wanted.valid_in_seconds);
  X509_gmtime_adj(X509_getm_notAfter(certificate), wanted.has_expired ? -kHour : kHour);
  if (wanted.not_after != nullptr) {
    HEDDLE_ASSERT(ASN1_TIME_set_string_X509(X509_getm_notAfter(certificate), wanted.not_after) ==
                  1);
  }
  const openssl::X509NamePtr name(X509_NAME_new());
  X509_NAME_add_entry_by_NID(name.get(), NID_commonName, V_ASN1_UTF8STRING,
                             reinterpret_cast<const unsigned char*>(wanted.common_name.data()),
                             static_cast<int>(wanted.common_name.size()), -1, 0);
  X509_set_subject_name(certificate, name.get());
  X509* const by = issuer != nullptr ? issuer->certificate.get() : certificate;
  X509_set_issuer_name(certificate, X509_get_subject_name(by));
  X509_set_pubkey(certificate, made.key.get());
  add_extensions(certificate, by, wanted);
  EVP_PKEY* const key = issuer != nullptr ? issuer->key.get() : made.key.get();
  HEDDLE_ASSERT(X509_sign(certificate, key, EVP_sha256()) > 0);
  return made;
}

std::string pem_of(const Issued& issued) {
  const openssl::BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), issued.certificate.get());
  PEM_write_bio_PrivateKey(bio.get(), issued.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

void trust(const Context& context, const Issued& root) {
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.native_handle()), root.certificate.get());
}

void show(const Context& context, const Issued& leaf, std::initializer_list<const Issued*> others) {
  SSL_CTX* const ctx = context.native_handle();
  SSL_CTX_use_certificate(ctx, leaf.certificate.get());
  SSL_CTX_use_PrivateKey(ctx, leaf.key.get());
  SSL_CTX_clear_chain_certs(ctx);
  for (const Issued* other : others) SSL_CTX_add1_chain_cert(ctx, other->certificate.get());
}

}  // namespace heddle::test
